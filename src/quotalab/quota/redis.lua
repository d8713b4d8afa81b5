-- Everything that the engine asks of its state in Redis, each question in one go.
--
-- Time is in whole microseconds since 1970, amounts are whole numbers; both stay below 2^53, where Lua's
-- numbers are exact. A number is never joined to a string with "..", which keeps 14 digits of it only.
--
-- KEYS[1] is the deployment's own hash: `limits` it is for, `start` of its timetable, `now` as last seen.
-- Then four for each limit and key, as far as its kind needs them:
--   state  hash: a, b, c by kind (b is what is used, where calls have a cost), n: the last number given out,
--          p: the sum of the charges that are to be settled, d: the latest instant at which something is
--   log    sorted set: charges (rolling), ends of calls (concurrency), answers (penalty), members (cardinality)
--   young  sorted set: when calls begin to count (concurrency)
--   due    sorted set: what is to be settled, by its instant, then in order of decision

local MOST = 9007199254740991
local mode, limits, given = ARGV[1], ARGV[2], ARGV[3]
local is_given = given ~= ''

local function text(number)
  return string.format('%.0f', number)
end

local function time()
  local parts = redis.call('TIME')
  return tonumber(parts[1]) * 1000000 + tonumber(parts[2])
end

local function remember()
  if not is_given then
    redis.call('EXPIRE', KEYS[1], ARGV[4])
  end
end

if mode == 'join' then
  local is_new = redis.call('HSETNX', KEYS[1], 'limits', limits)
  redis.call('HSETNX', KEYS[1], 'start', ARGV[5] ~= '' and ARGV[5] or text(time()))
  remember()
  local found = redis.call('HMGET', KEYS[1], 'limits', 'start', 'now')
  return { is_new, found[1], tonumber(found[2]), math.max(tonumber(found[3] or '0'), is_given and 0 or time()) }
end

local found = redis.call('HMGET', KEYS[1], 'limits', 'start', 'now')
if found[1] ~= limits then
  return { 'join' }
end
local start, last = tonumber(found[2]), tonumber(found[3] or '0')
local now = is_given and tonumber(given) or time()
if now < last then
  if is_given then
    return { 'backwards', last }
  end
  now = last
end

local function seen()
  redis.call('HSET', KEYS[1], 'now', text(now))
  remember()
end

if mode == 'time' then
  seen()
  return { now }
end

local statics, dynamics = cjson.decode(ARGV[5]), cjson.decode(ARGV[6])

-- Windows --------------------------------------------------------------------------------------------------

-- Number, start and end of the window that holds an instant; nothing where the windows handed in do not.
local function window(one, at)
  local static = one.static
  if static.even then
    local from = at - (at - one.windows) % static.period
    return from / static.period, from, from + static.period
  end
  if static.period == 0 then
    return 0, 0, MOST
  end
  local windows = one.windows
  for i = 2, #windows - 1 do
    if windows[i] <= at and at < windows[i + 1] then
      return windows[1] + i - 2, windows[i], windows[i + 1]
    end
  end
end

-- Kinds ----------------------------------------------------------------------------------------------------
--
-- turn: bring what is kept up to an instant. room: whether the call fits. take, give: charge, give back what
-- was charged at an instant. left: what remains. wait, reset: what the caller works the two out from.
-- over: by when nothing will be known any more, at the earliest; later does no harm. MOST: never.

local function fits(one)
  return one.need == 0 or one.b + one.need <= one.number
end

local function left(one)
  return one.number - one.b
end

local function cost_of(entry)
  return tonumber(string.match(entry, ':(%d+)$'))
end

local rolling = { room = fits, left = left, has_log = true }

function rolling.turn(one, at)
  if one.b == 0 then
    return
  end
  local gone = text(at - one.static.period)
  if redis.call('ZCARD', one.log) == one.b then -- each is 1
    local count = redis.call('ZREMRANGEBYSCORE', one.log, '-inf', gone)
    if count > 0 then
      one.b, one.is_changed = one.b - count, true
    end
    return
  end
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', one.log, '-inf', gone)) do
    one.b, one.is_changed = one.b - cost_of(entry), true
  end
  redis.call('ZREMRANGEBYSCORE', one.log, '-inf', gone)
end

function rolling.take(one, at, amount)
  one.n, one.b = one.n + 1, one.b + amount
  redis.call('ZADD', one.log, text(at), text(one.n) .. ':' .. text(amount))
end

function rolling.give(one, charged, at, amount)
  if charged <= at - one.static.period then
    return
  end
  one.b = one.b - amount
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', one.log, text(charged), text(charged))) do
    local cost = cost_of(entry)
    local part = math.min(cost, amount)
    amount = amount - part
    if part > 0 then
      redis.call('ZREM', one.log, entry)
      if cost > part then
        local number = string.match(entry, '^%d+')
        redis.call('ZADD', one.log, text(charged), number .. ':' .. text(cost - part))
      end
    end
  end
end

function rolling.wait(one)
  local excess = one.b + one.need - one.number
  if one.need > one.number then
    return 0, 0
  end
  if redis.call('ZCARD', one.log) == one.b then
    return tonumber(redis.call('ZRANGE', one.log, excess - 1, excess - 1, 'WITHSCORES')[2]), 0
  end
  local from = 0
  while true do
    local entries = redis.call('ZRANGE', one.log, from, from + 99, 'WITHSCORES')
    for i = 1, #entries, 2 do
      excess = excess - cost_of(entries[i])
      if excess <= 0 then
        return tonumber(entries[i + 1]), 0
      end
    end
    from = from + 100
  end
end

function rolling.reset(one)
  return one.b > 0 and tonumber(redis.call('ZRANGE', one.log, -1, -1, 'WITHSCORES')[2]) or 0, 0
end

function rolling.over(one)
  return math.max(now, one.d) + one.static.period
end

-- The same windows for all keys, or for each key at an offset. a: the end of the one that `b` is of.
local clock = { room = fits, left = left }

function clock.turn(one)
  if one.a ~= one.ends then
    one.a, one.b = one.ends, 0
  end
end

function clock.take(one, at, amount)
  if at >= one.begins then -- what was to be settled in a window that is over no longer matters
    one.b = one.b + amount
  end
end

function clock.give(one, charged, _, amount)
  if charged >= one.begins then
    one.b = one.b - amount
  end
end

function clock.wait(one)
  return one.ends, 0
end

clock.reset = clock.wait

function clock.over(one)
  return one.d < one.ends and one.ends or one.d + one.static.longest
end

-- Windows that begin with a key's first charge. a: the end of the last one.
local first = {}

local function open(one)
  return now < one.a and one.b or 0
end

function first.turn() end

function first.room(one)
  return one.need == 0 or open(one) + one.need <= one.number
end

function first.take(one, at, amount)
  if at >= one.a then
    one.a, one.b = at + one.static.period, 0
  end
  one.b = one.b + amount
end

function first.give(one, charged, at, amount)
  if one.a - one.static.period <= charged and at < one.a then
    one.b = one.b - amount
  end
end

function first.left(one)
  return one.number - open(one)
end

function first.wait(one)
  return one.a, 0
end

first.reset = first.wait

function first.over(one)
  return math.max(one.a, one.d + one.static.period)
end

-- What is used is b + c / q, as of the instant a; each microsecond p / q drains.
local bucket = {}

-- The whole part of `length` x p / q and the rest, in 1 / q; nothing where it is more than `most`. Worked out
-- a few bits of `length` at a time, so that no product reaches 2^53.
local function drain(static, length, most)
  local digits, whole, rest = {}, 0, 0
  while length > 0 do
    digits[#digits + 1] = length % static.digit
    length = (length - digits[#digits]) / static.digit
  end
  for i = #digits, 1, -1 do
    local product = rest * static.digit + digits[i] * static.p
    rest = product % static.q
    whole = whole * static.digit + (product - rest) / static.q
    if whole > most then
      return
    end
  end
  return whole, rest
end

function bucket.turn(one, at)
  if one.b > 0 or one.c > 0 then
    local whole, rest = drain(one.static, at - one.a, one.b)
    if not whole then
      one.b, one.c = 0, 0
    else
      one.b, one.c = one.b - whole, one.c - rest
      if one.c < 0 then
        one.b, one.c = one.b - 1, one.c + one.static.q
      end
      if one.b < 0 then
        one.b, one.c = 0, 0
      end
    end
  end
  one.a = at
end

function bucket.left(one)
  return one.number - one.b - (one.c > 0 and 1 or 0)
end

function bucket.room(one)
  return one.need == 0 or bucket.left(one) >= one.need
end

function bucket.take(one, _, amount)
  one.b = one.b + amount
end

function bucket.give(one, _, _, amount)
  one.b = one.b - amount
  if one.b < 0 then
    one.b, one.c = 0, 0
  end
end

function bucket.wait(one)
  return one.b, one.c
end

bucket.reset = bucket.wait

function bucket.over(one)
  local most = (one.b + one.p + 1) * one.static.q / one.static.p
  return math.max(now, one.d) + math.ceil(most * 1.000001) + 1
end

-- a: the number of the window that `b` is of.
local balance = { left = left }

function balance.turn(one, _, index)
  index = index or one.index
  if index > one.a then
    one.a, one.b = index, math.max(0, one.b - (index - one.a) * one.number)
  end
end

function balance.room(one)
  return fits(one) or (one.static.may_go_negative and one.b < one.number)
end

function balance.take(one, _, amount)
  one.b = one.b + amount
end

function balance.give(one, _, _, amount)
  one.b = math.max(0, one.b - amount)
end

function balance.wait(one)
  return one.b, one.a
end

balance.reset = balance.wait

function balance.over(one)
  if one.b + one.p == 0 then
    return math.max(now, one.d) + 1
  end
  if one.static.period == 0 then
    return MOST
  end
  return math.max(now, one.d) + (math.ceil((one.b + one.p) / one.number) + 1) * one.static.longest
end

-- a: the latest end of a call.
local concurrency = { has_log = true }

local function count(one)
  return redis.call('ZCARD', one.log) - (one.static.min_age > 0 and redis.call('ZCARD', one.young) or 0)
end

function concurrency.turn(one, at)
  redis.call('ZREMRANGEBYSCORE', one.log, '-inf', text(at))
  if one.static.min_age > 0 then
    redis.call('ZREMRANGEBYSCORE', one.young, '-inf', text(at))
  end
end

function concurrency.room(one)
  return count(one) + 1 <= one.number
end

function concurrency.admit(one)
  local begins = now + one.static.min_age
  if one.answered <= begins then
    return
  end
  one.n, one.a, one.is_changed = one.n + 1, math.max(one.a, one.answered), true
  redis.call('ZADD', one.log, text(one.answered), text(one.n))
  if one.static.min_age > 0 then
    redis.call('ZADD', one.young, text(begins), text(one.n))
  end
end

function concurrency.left(one)
  return one.number - count(one)
end

function concurrency.wait(one)
  local counted, begun, ended = count(one), 1, 0
  if one.static.min_age == 0 then
    local rank = counted - one.number
    return tonumber(redis.call('ZRANGE', one.log, rank, rank, 'WITHSCORES')[2]), 0
  end
  local ends = redis.call('ZRANGE', one.log, 0, -1, 'WITHSCORES')
  local young = redis.call('ZRANGE', one.young, 0, -1, 'WITHSCORES')
  for i = 2, #ends, 2 do
    ended = ended + 1
    while young[2 * begun] and tonumber(young[2 * begun]) <= tonumber(ends[i]) do
      begun = begun + 1
    end
    if counted + begun - 1 - ended < one.number then
      return tonumber(ends[i]), 0
    end
  end
end

function concurrency.reset()
  return 0, 0
end

function concurrency.over(one)
  return one.a
end

local cardinality = { reset = concurrency.reset }

function cardinality.turn(one)
  one.has = one.member and redis.call('ZSCORE', one.log, one.member) and 1 or 0
end

function cardinality.room(one)
  return one.has == 1 or one.static.evicts or redis.call('ZCARD', one.log) < one.number
end

-- The member that had to leave, if any.
function cardinality.admit(one)
  if one.has == 1 then
    return
  end
  local newest = redis.call('ZRANGE', one.log, -1, -1, 'WITHSCORES')[2]
  local evicted
  if one.static.evicts and redis.call('ZCARD', one.log) >= one.number then
    evicted = redis.call('ZPOPMIN', one.log)[1]
  end
  redis.call('ZADD', one.log, text(tonumber(newest or '0') + 1), one.member)
  return evicted
end

function cardinality.left(one)
  return one.number - redis.call('ZCARD', one.log)
end

function cardinality.wait()
  return 0, 0
end

-- a, b: end and duration of the last block. c: when the last answer was counted.
local penalty = { has_log = true }

function penalty.turn(one, at)
  redis.call('ZREMRANGEBYSCORE', one.log, '-inf', text(at - one.static.period))
end

function penalty.room(one)
  return now >= one.a
end

function penalty.admit() end

function penalty.ask_blocked(one)
  if one.static.extends then
    one.a, one.is_changed = now + one.b, true
  end
end

function penalty.answer(one, at)
  if at < one.a then
    return
  end
  one.is_changed = true
  if redis.call('ZCARD', one.log) + 1 <= one.number then
    one.n, one.c = one.n + 1, math.max(one.c, at)
    redis.call('ZADD', one.log, text(at), text(one.n))
    return
  end
  redis.call('DEL', one.log)
  if one.static.bans then
    one.a, one.b = MOST, MOST
    return
  end
  local duration = one.static.block
  if one.a > 0 and at < one.a + one.static.forgive then
    duration = one.b * one.static.escalation
  end
  one.b = math.min(duration, one.static.longest)
  one.a = at + one.b
end

function penalty.left(one)
  return one.number - redis.call('ZCARD', one.log)
end

function penalty.wait(one)
  return one.a, one.b
end

penalty.reset = penalty.wait

function penalty.over(one)
  if one.a == MOST then
    return MOST
  end
  return math.max(one.a > 0 and one.a + one.static.forgive or 0, one.c + one.static.period)
end

local kinds = {
  rolling = rolling, clock = clock, first = first, bucket = bucket, balance = balance,
  concurrency = concurrency, cardinality = cardinality, penalty = penalty,
}

-- What is kept -----------------------------------------------------------------------------------------------

local function load(one)
  if one.static.kind == 'cardinality' then
    return
  end
  local kept = redis.call('HMGET', one.state, 'a', 'b', 'c', 'n', 'p', 'd', 'over')
  if is_given and kept[7] and tonumber(kept[7]) <= now then -- Redis expires keys by its own time only
    redis.call('DEL', one.state, one.log, one.young, one.due)
    kept = {}
  end
  for i, name in ipairs({ 'a', 'b', 'c', 'n', 'p', 'd' }) do
    one[name] = tonumber(kept[i] or '0')
  end
end

local function save(one)
  if not one.is_changed then
    return
  end
  local over = one.rules.over(one)
  redis.call('HSET', one.state, 'a', text(one.a), 'b', text(one.b), 'c', text(one.c), 'n', text(one.n),
    'p', text(one.p), 'd', text(one.d), 'over', text(math.min(over, MOST)))
  if is_given then
    return
  end
  local keys = { one.state }
  if one.rules.has_log then
    keys[#keys + 1] = one.log
    if one.static.min_age then
      keys[#keys + 1] = one.young
    end
  end
  if one.static.settles then
    keys[#keys + 1] = one.due
  end
  for _, key in ipairs(keys) do
    if over >= MOST then
      redis.call('PERSIST', key)
    else
      redis.call('PEXPIREAT', key, text(math.ceil(over / 1000)))
    end
  end
end

-- Settle what is due by now, in order, each at its own instant.
local function settle(one)
  if not one.static.settles then
    return
  end
  local due = redis.call('ZRANGEBYSCORE', one.due, '-inf', text(now), 'WITHSCORES')
  for i = 1, #due, 2 do
    local at = tonumber(due[i + 1])
    local amount, charged, index = string.match(due[i], ':(%-?%d+):(%d+):(%d+)$')
    amount, charged, index = tonumber(amount), tonumber(charged), tonumber(index)
    one.rules.turn(one, at, index)
    if amount > 0 then
      one.p = one.p - amount
      one.rules.take(one, at, amount)
    else
      one.rules.give(one, charged, at, -amount)
    end
  end
  if #due > 0 then
    one.is_changed = true
    redis.call('ZREMRANGEBYSCORE', one.due, '-inf', text(now))
  end
end

local function charge(one, amount)
  if amount > 0 then
    one.is_changed = true
    one.rules.take(one, now, amount)
  end
end

-- Charge an admitted call by its cost, now and when it has been answered.
local function meter(one)
  charge(one, one.static.after and 0 or one.need)
  local amount = one.final - (one.static.after and 0 or one.need)
  if amount ~= 0 then
    one.n, one.p, one.d = one.n + 1, one.p + math.max(0, amount), math.max(one.d, one.answered)
    one.is_changed = true
    redis.call('ZADD', one.due, text(one.answered), string.format('%016.0f', one.n) .. ':' .. text(amount)
      .. ':' .. text(now) .. ':' .. text(one.due_index))
  end
end

-- What is asked --------------------------------------------------------------------------------------------

local answered = now + (dynamics.takes or 0)
local ones = {}
for i, static in ipairs(statics) do
  local first_key = 4 * i - 2
  local one = {
    static = static, rules = kinds[static.kind], number = static.number, answered = answered, due_index = 0,
    state = KEYS[first_key], log = KEYS[first_key + 1], young = KEYS[first_key + 2], due = KEYS[first_key + 3],
    need = dynamics.needs and dynamics.needs[i] or 0, final = dynamics.finals and dynamics.finals[i] or 0,
    windows = dynamics.windows[i],
  }
  if static.kind == 'cardinality' and dynamics.members then
    one.member = ARGV[6 + dynamics.members[i]]
  end
  for _, change in ipairs(static.changes) do
    if start + change[1] <= now then
      one.number = change[2]
    end
  end
  if static.kind == 'clock' or static.kind == 'balance' then
    one.index, one.begins, one.ends = window(one, now)
    if static.kind == 'balance' and static.settles then
      one.due_index = window(one, answered)
    end
    if not one.index or not one.due_index then
      return { 'windows', now, answered }
    end
  end
  ones[i] = one
end

if mode == 'observe' then
  local at = dynamics.at or now
  for _, one in ipairs(ones) do
    load(one)
    one.rules.turn(one, at)
    one.rules.answer(one, at)
    save(one)
  end
  seen()
  return { now }
end

for _, one in ipairs(ones) do
  load(one)
  settle(one)
  one.rules.turn(one, now)
end

if mode == 'standing' then
  local one = ones[1]
  save(one)
  seen()
  local a, b = one.rules.reset(one)
  return { now, one.number, one.rules.left(one), a, b }
end

for _, one in ipairs(ones) do
  if one.static.metered and one.b + one.p + math.max(one.need, one.final) > MOST then
    for _, other in ipairs(ones) do
      save(other)
    end
    return { 'overflow', one.static.name }
  end
end

local refusing, evicted, reply = {}, false, { now, false }
for i, one in ipairs(ones) do
  local a, b = 0, one.has or 0
  if not one.rules.room(one) then
    refusing[#refusing + 1] = i
    a, b = one.rules.wait(one)
  end
  one.reply = { a, b }
end
if dynamics.charge and #refusing == 0 then
  for _, one in ipairs(ones) do
    if one.static.metered then
      meter(one)
    else
      local gone = one.rules.admit(one)
      evicted = evicted or gone or false
    end
  end
elseif dynamics.charge then
  local charged = {}
  for _, i in ipairs(refusing) do
    for _, j in ipairs(statics[i].charges) do
      charged[j] = true
    end
  end
  for i, one in ipairs(ones) do
    if charged[i] then
      charge(one, one.need)
    end
  end
  for _, i in ipairs(refusing) do
    if ones[i].static.kind == 'penalty' then
      ones[i].rules.ask_blocked(ones[i])
    end
  end
end
seen()
local refuses = {}
for _, i in ipairs(refusing) do
  refuses[i] = true
end
for i, one in ipairs(ones) do
  save(one)
  for _, value in ipairs({ refuses[i] and 1 or 0, one.number, one.rules.left(one), one.reply[1], one.reply[2] }) do
    reply[#reply + 1] = value
  end
end
reply[2] = evicted
return reply

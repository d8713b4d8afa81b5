// A small app in another language: it asks the provider for each request, and waits when it is told to.
const http = require("http");

const api = new URL(process.env.API + "/events");
const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

function ask() {
  return new Promise((done, failed) => {
    http.get(api, { headers: { "User-Agent": "node-app/1.0" } }, (answer) => {
      answer.resume();
      answer.on("end", () => done(answer));
    }).on("error", failed);
  });
}

http
  .createServer(async (request, response) => {
    try {
      let answer = await ask();
      while (answer.statusCode === 429) {
        await wait(Number(answer.headers["retry-after"]));
        answer = await ask();
      }
      response.writeHead(answer.statusCode === 401 ? 200 : 502).end();
    } catch (error) {
      response.writeHead(502).end(); // the provider gave no answer
    }
  })
  .listen(Number(process.env.PORT), "127.0.0.1");

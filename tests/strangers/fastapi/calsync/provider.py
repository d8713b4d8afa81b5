import asyncio
import logging
import random
import time

import httpx

from calsync import config

log = logging.getLogger(__name__)

MAX_TRIES = 4


class GaveUp(Exception):
    pass


class Provider:
    """The calendar API, with our own retries."""

    def __init__(self):
        self.http = httpx.AsyncClient(timeout=20)

    async def close(self):
        await self.http.aclose()

    async def exchange(self, code, verifier, redirect_uri):
        return await self._token(
            {
                "grant_type": "authorization_code",
                "code": code,
                "code_verifier": verifier,
                "redirect_uri": redirect_uri,
            }
        )

    async def refresh(self, account):
        token = await self._token({"grant_type": "refresh_token", "refresh_token": account["refresh_token"]})
        account.update(token)

    async def _token(self, form):
        auth = (config.CLIENT_ID, config.CLIENT_SECRET)
        response = await self.http.post(config.TOKEN_URL, data=form, auth=auth)
        response.raise_for_status()
        token = response.json()
        token["expires_at"] = time.time() + token["expires_in"]
        return token

    async def events(self, account):
        if account["expires_at"] < time.time() + 60:
            await self.refresh(account)
        for attempt in range(MAX_TRIES):
            bearer = {"Authorization": f"Bearer {account['access_token']}"}
            response = await self.http.get(f"{config.API_URL}/events", headers=bearer)
            if response.status_code == 429:
                wait = int(response.headers.get("Retry-After", 1)) + random.random()
                log.info("told to wait %.1f s", wait)
            elif response.status_code >= 500:
                wait = 2**attempt + random.random()
            else:
                response.raise_for_status()
                return response.json()
            await asyncio.sleep(wait)
        raise GaveUp(f"no answer after {MAX_TRIES} tries")

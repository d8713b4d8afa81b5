"""Pulls the team's calendar every few minutes and prints what is new: python pull.py"""

import os
import time

import requests

API = os.environ.get("CALENDAR_API", "https://calendar.example/v1")
TOKEN_URL = os.environ.get("CALENDAR_TOKEN_URL", "https://calendar.example/oauth/token")
CLIENT_ID = os.environ.get("CALENDAR_CLIENT_ID", "")
CLIENT_SECRET = os.environ.get("CALENDAR_CLIENT_SECRET", "")
EVERY = 300

_token = {"value": None, "until": 0}


def token():
    if _token["until"] < time.time() + 30:
        form = {"grant_type": "client_credentials", "scope": "events.read"}
        answer = requests.post(TOKEN_URL, data=form, auth=(CLIENT_ID, CLIENT_SECRET), timeout=10)
        answer.raise_for_status()
        _token["value"] = answer.json()["access_token"]
        _token["until"] = time.time() + answer.json()["expires_in"]
    return _token["value"]


def pull():
    for _ in range(3):
        answer = requests.get(f"{API}/events", headers={"Authorization": f"Bearer {token()}"}, timeout=10)
        if answer.status_code != 429:
            answer.raise_for_status()
            return answer.json()
        time.sleep(int(answer.headers["Retry-After"]))
    raise RuntimeError("refused three times")


def main():
    while True:
        print(len(pull()), "parts")
        time.sleep(EVERY)


if __name__ == "__main__":
    main()

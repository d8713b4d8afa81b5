import os

CLIENT_ID = os.environ["CALSYNC_CLIENT_ID"]
CLIENT_SECRET = os.environ["CALSYNC_CLIENT_SECRET"]
AUTHORIZE_URL = os.environ.get("CALSYNC_AUTHORIZE_URL", "https://calendar.example/oauth/authorize")
TOKEN_URL = os.environ.get("CALSYNC_TOKEN_URL", "https://calendar.example/oauth/token")
API_URL = os.environ.get("CALSYNC_API_URL", "https://calendar.example/v1")
REFRESH_EVERY = 6 * 3600  # seconds

export DIB_SWAGENT_VENV=${DIB_SWAGENT_VENV:-/opt/swagent/venv}

"""The authority: accounts, schedule, lobby, rules, audit, the SFU's door. Imports `meeting` and `protocol` only.

The REST wire in one place (bodies are JSON objects; times are Unix seconds; every error is `{"error": code, "detail": {…}}`,
500s also `ref`, which finds the line in the log; 429 carries `Retry-After`). `rest.py` and the modules it names implement it,
`openapi.py` describes it to tools.

    POST /api/v1/join                       {code, name, kind?, unit?, position?, badge?, ticket?}, bearer optional
                                            -> {session_token, meeting, participant, state: lobby|admitted, code, title,
                                                badge (guests: keep it and send it again), control_url}
                                            404 no_such_meeting · 403 refused (code of the rule) · 401 bad bearer
    GET  /api/v1/meetings/by-code/{code}    -> {code, title, start, duration_s, state, lobby, locked}   (the link's preview)
    POST /api/v1/meetings/by-code/{code}/chair  {secret} -> {ticket, expires_in}   (the `#k=` of a chair link; 60 s, once)
    POST /api/v1/auth/login                 {name, password} -> {access_token, expires_in, refresh_token, account: {id, name, role}}
    POST /api/v1/auth/refresh               {refresh_token} -> the same, with the next refresh token (each is good once)
    POST /api/v1/auth/logout                {refresh_token} -> {}
    GET  /api/v1/me                         bearer -> {id, name, role}
    GET/POST /api/v1/accounts               admin: list / {name, password, role}
    POST /api/v1/accounts/{name}/disable    admin
    POST /api/v1/keys                       admin: {name} -> {key}       (a service key)
    GET  /api/v1/meetings                   bearer -> {meetings: [{id, code, title, start, duration_s, state, lobby, chair, link}]}
    POST /api/v1/meetings                   organiser, admin: {title, start?, duration_s?, lobby?}
                                            -> {id, code, title, start, duration_s, lobby, link, chair_link, chair_token}
    GET  /api/v1/meetings/{id}              the state as the bearer may see it
    POST /api/v1/meetings/{id}/commands     {do, …} -> 200 {…} · 409 {refused, detail}
    POST /api/v1/meetings/{id}/external     {identity, name?, role?, ttl?} -> {url, token, participant, expires_at}
    POST /api/v1/meetings/{id}/chair-link   chairs: a new chair link, the old one is dead; DELETE only kills it
    GET  /api/v1/media/where                what `vidconf doctor` may measure before anybody is admitted: `probe.py`
    GET  /api/v1/media/gate                 nginx auth_request; POST /api/v1/media/webhook: from the SFU
    GET  /healthz, /readyz, /metrics, /api/v1/openapi.json;  GET /m/{code}: the link's page
    /rtc*                                   LiveKit's signalling, passed to the relay after asking the door
"""

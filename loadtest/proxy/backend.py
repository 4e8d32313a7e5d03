"""The trivial backend behind every proxy: nginx that swallows the body and answers a short JSON."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.peers import Peer
from loadtest.peers.nginx import command

ANSWER = '[{"label":"tabby","score":0.9}]'


def backend(ports: Sequence[int], core: int | None) -> Peer:
    """A server on all `ports` of the loopback interface."""
    listens = "\n".join(f"    listen 127.0.0.1:{port} backlog=1024;" for port in ports)
    config = f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile 16000;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  client_max_body_size 0;
  keepalive_requests 100000000;
  keepalive_timeout 3600s;
  server {{
{listens}
    default_type application/json;
    location / {{ return 200 '{ANSWER}'; }}
  }}
}}
"""
    program, environ = command()
    return Peer("backend", ports[0], {"nginx.conf": config}, program, core, environ)

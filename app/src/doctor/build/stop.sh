# shellcheck shell=sh disable=SC2154
STATE=/var/lib/softprefix/doctor/build
if [ -e "$STATE/pid" ]; then
    pid=$(cat "$STATE/pid")
    kill -TERM "-$pid" 2>/dev/null; sleep 1; kill -KILL "-$pid" 2>/dev/null
    rm -f "$STATE/pid"
    say result stopped
else say result nothing; fi

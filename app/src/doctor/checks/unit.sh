# shellcheck shell=sh disable=SC2154
for file in /opt/m5stack/bin/llm_llm*; do
    [ -e "$file" ] || continue
    say unit "$file"
    missing=$(ldd "$file" 2>&1 | grep -E 'not found' )
    say missing "$missing"
done
say state "$(systemctl is-active llm-llm 2>/dev/null)"
if [ -e /tmp/rpc.llm ]; then say rpc yes; else say rpc no; fi
say journal "$(journalctl -u llm-llm -n 5 --no-pager -o cat 2>/dev/null)"

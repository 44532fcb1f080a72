# shellcheck shell=sh disable=SC2154
for file in /opt/m5stack/data/models/mode_*.json /opt/m5stack/data/*/*.json; do
    [ -f "$file" ] || continue
    [ "$(wc -c <"$file")" -le 65536 ] || continue
    grep -q tokens_embed_size "$file" || continue
    say file "$file"
    say text "$(cat "$file")"
done

# shellcheck shell=sh disable=SC2154
say machine "$(uname -m)"
say glibc "$(ldd --version 2>/dev/null | head -n 1 | grep -oE '[0-9]+\.[0-9]+$')"
mkdir -p "$S"
# Copies of installations that did not end.
find "$S" -name 'unit.part-*' -mmin +60 -exec rm -f {} +
say free "$(df -Pk /opt 2>/dev/null | awk 'NR == 2 {print $4}')"
if [ -n "$(starts_next program)" ]; then say service yes; else say service no; fi
say models "$(find /opt/m5stack/data/models -name 'mode_*.json' 2>/dev/null | wc -l)"
say owner "$(owner "$NEW")"

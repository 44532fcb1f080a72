# shellcheck shell=sh disable=SC2154
# The folders' names may hold anything: each is handed over between NULs, never through words of a shell.
if ldconfig -p 2>/dev/null | grep -q 'libax_interpreter\.so'; then say registered yes; else say registered no; fi
say entry "$(ldconfig -p 2>/dev/null | grep 'libax_interpreter\.so' | head -n 1)"
find /opt /usr/local/m5stack /usr/lib /soc/lib -name 'libax_interpreter.so*' \( -type f -o -type l \) -exec sh -c '
    for file; do if [ -e "$file" ]; then state=whole; else state=broken; fi; printf "%s\0%s\0" "$state" "$file"; done' sh {} + 2>/dev/null >&3

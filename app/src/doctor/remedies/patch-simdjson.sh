# shellcheck shell=sh disable=SC2154
# Lets the SConstruct work where SCons' GCC tool does not say what machine it builds for.

backup() {
    copy "$FILE" "$B/SConstruct"
}

change() {
    cp -p "$FILE" "$FILE.softprefix"
    awk '
        index($0, "gcc_dumpmachine = env[\"GCC_DUMPMACHINE\"]") && !added {
            lead = $0; sub(/[^ \t].*/, "", lead)
            print lead "# SCons does not always know the machine: ask the compiler itself"
            print lead "import subprocess"
            print lead "if \"GCC_DUMPMACHINE\" not in env:"
            print lead "    try:"
            print lead "        env[\"GCC_DUMPMACHINE\"] = subprocess.check_output([env.get(\"CC\", \"gcc\"), \"-dumpmachine\"]).decode().strip()"
            print lead "    except Exception:"
            print lead "        env[\"GCC_DUMPMACHINE\"] = \"aarch64-linux-gnu\""
            added = 1
        }
        { print }
    ' "$FILE" >"$FILE.softprefix"
    test "$(awk 'END { print NR }' "$FILE.softprefix")" = "$(awk 'END { print NR + 7 }' "$FILE")"
    sync "$FILE.softprefix"
    mv -f "$FILE.softprefix" "$FILE"
    sync "$(dirname "$FILE")"
}

verify() {
    [ "$(grep -cF 'if "GCC_DUMPMACHINE" not in env' "$FILE")" = 1 ] &&
        grep -qF 'gcc_dumpmachine = env["GCC_DUMPMACHINE"]' "$FILE"
}

restored() {
    same "$B/SConstruct" "$FILE"
}

restore() {
    rm -f "$FILE.softprefix"
    restored || copy "$B/SConstruct" "$FILE"
}

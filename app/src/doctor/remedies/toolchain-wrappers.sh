# shellcheck shell=sh disable=SC2154
# Puts wrappers of the native tools where SCons looks for the cross compiler.

tools_to_make() {
    for t in gcc g++ ar ranlib strip nm ld objcopy objdump; do
        new="$TC/aarch64-none-linux-gnu-$t"
        present "$new" || printf '%s\n' "$new"
    done
}

# The deepest first.
folders_to_make() {
    folder=$TC
    until [ -d "$folder" ]; do
        printf '%s\n' "$folder"
        folder=$(dirname "$folder")
    done
}

backup() {
    put "$(tools_to_make)" "$B/made"
    put "$(folders_to_make)" "$B/folders"
}

change() {
    mkdir -p "$TC"
    for t in gcc g++; do
        new="$TC/aarch64-none-linux-gnu-$t"
        if [ -e "$new" ] || [ -L "$new" ]; then continue; fi
        test -x "/usr/bin/$t"
        printf '#!/bin/sh\nexec /usr/bin/%s "$@"\n' "$t" >"$new.softprefix"
        grep -qxF "exec /usr/bin/$t \"\$@\"" "$new.softprefix"
        chmod 755 "$new.softprefix"
        sync "$new.softprefix"
        mv "$new.softprefix" "$new"
    done
    for t in ar ranlib strip nm ld objcopy objdump; do
        new="$TC/aarch64-none-linux-gnu-$t"
        if [ -e "$new" ] || [ -L "$new" ]; then continue; fi
        native=$(command -v "$t") || continue
        ln -s "$native" "$new"
    done
    sync "$TC"
}

verify() {
    test -x "$TC/aarch64-none-linux-gnu-gcc" && test -x "$TC/aarch64-none-linux-gnu-g++"
}

# A folder that somebody else has put something into stays.
restored() {
    while IFS= read -r new; do
        if [ -n "$new" ] && present "$new"; then return 1; fi
    done <"$B/made" &&
        while IFS= read -r folder; do
            if [ -d "$folder" ] && [ -z "$(ls -A "$folder")" ]; then return 1; fi
        done <"$B/folders"
}

restore() {
    while IFS= read -r new; do
        if [ -n "$new" ]; then rm -f "$new" "$new.softprefix"; fi
    done <"$B/made"
    while IFS= read -r folder; do
        if [ -d "$folder" ] && [ -z "$(ls -A "$folder")" ]; then rmdir "$folder"; fi
    done <"$B/folders"
}

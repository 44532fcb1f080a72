# shellcheck shell=sh disable=SC2154
# Points the module's libstdc++ to the system's. The old one stays beside it under a name with the time.

backup() {
    if present "$DIR/libstdc++.so.6"; then
        copy "$DIR/libstdc++.so.6" "$B/libstdc++.so.6"
    else
        true >"$B/absent"
    fi
    put "$DIR/libstdc++.so.6.broken_$TS" "$B/aside"
}

change() {
    grep -aq GLIBCXX_3.4.30 "$SYSTEM"
    if [ -e "$DIR/libstdc++.so.6" ] || [ -L "$DIR/libstdc++.so.6" ]; then
        ln -P "$DIR/libstdc++.so.6" "$DIR/libstdc++.so.6.broken_$TS"
    fi
    ln -sfn "$SYSTEM" "$DIR/libstdc++.so.6.softprefix"
    mv -fT "$DIR/libstdc++.so.6.softprefix" "$DIR/libstdc++.so.6"
    sync "$DIR"
}

verify() {
    grep -aq GLIBCXX_3.4.30 "$DIR/libstdc++.so.6" && grep -aq CXXABI_1.3.13 "$DIR/libstdc++.so.6"
}

restored() {
    if [ -e "$B/absent" ]; then
        ! present "$DIR/libstdc++.so.6"
    else
        same "$B/libstdc++.so.6" "$DIR/libstdc++.so.6"
    fi
}

# The old one is moved back where it is still as the backup holds it: that needs no room on the disk.
restore() {
    aside=$(cat "$B/aside")
    rm -f "$DIR/libstdc++.so.6.softprefix"
    if restored; then
        rm -f "$aside"
    elif [ -e "$B/absent" ]; then
        rm -f "$DIR/libstdc++.so.6"
    elif same "$B/libstdc++.so.6" "$aside"; then
        mv -fT "$aside" "$DIR/libstdc++.so.6"
    else
        copy "$B/libstdc++.so.6" "$DIR/libstdc++.so.6"
    fi
    sync "$DIR"
}

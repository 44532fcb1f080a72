//! Soft prefixes: the value, how it was made, its wire form, its place in front of the token rows. It knows no transport and no engine.

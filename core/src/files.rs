//! Files that are replaced whole or not at all.

use std::io::Write as _;
use std::path::Path;

/// Puts a file in the place of the one at `path`: whatever happens meanwhile, either the old content is there or the new.
///
/// # Errors
/// What the system says; the old file is as it was then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace(path, bytes, 0o666)
}

/// As [`write_whole`], readable by its owner only.
///
/// # Errors
/// As [`write_whole`].
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace(path, bytes, 0o600)
}

/// `mode` is that of a new file on Unix, less what the user's mask takes away.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::Permissions::from_mode(mode)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    #[cfg(not(unix))]
    let _ = mode;
    let mut part = builder.prefix(".softprefix-").suffix(".part").tempfile_in(folder)?;
    part.write_all(bytes)?;
    part.as_file().sync_all()?;
    part.persist(path)?;
    Ok(())
}

//! Files of the repository that say what comes out. With `NETFORM_BLESS` set they are written anew (`make bless`).

use std::fs;
use std::path::Path;

/// What stands in a file and what should, or the file written anew.
pub(crate) fn compare(path: &Path, expected: &str) -> Result<(), String> {
    if std::env::var_os("NETFORM_BLESS").is_some() {
        fs::write(path, expected).expect("the repository can be written to");
        return Ok(());
    }
    let stands = fs::read_to_string(path).unwrap_or_default();
    if stands == expected {
        return Ok(());
    }
    let name = path.display();
    Err(format!(
        "{name} is stale. It has\n{stands}\nand should have\n{expected}"
    ))
}

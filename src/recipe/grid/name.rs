//! Names of members, which become folders.

/// Bytes that a file system takes, and some room.
const MAX_BYTES: usize = 200;

/// Names that Windows keeps for devices.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Why a name is not fit to be a folder's, on any system; `None` if it is.
pub(super) fn flaw(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || "._-+=,".contains(c);
    if name.is_empty() {
        Some("it is empty".into())
    } else if name.len() > MAX_BYTES {
        Some(format!("it has {} bytes, {MAX_BYTES} are allowed", name.len()))
    } else if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        Some(format!("it contains {c:?}"))
    } else if !name.starts_with(char::is_alphanumeric) {
        Some("it does not begin with a letter or digit".into())
    } else if name.ends_with('.') {
        Some("it ends with a dot".into())
    } else if DEVICES.contains(&name.to_lowercase().split('.').next().unwrap_or_default()) {
        Some("some systems keep it for a device".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::flaw;

    #[test]
    fn names_are_safe_as_folders() {
        for good in ["ties-1x_cloned-ekk", "a.b", "x=0.5,y=1+2", "føroyskt", "9"] {
            assert_eq!(flaw(good), None, "{good}");
        }
        let long = "x".repeat(201);
        for bad in ["", "..", ".x", "a/b", "a\\b", "-x", "a b", "x.", "a\0", "NUL.txt", "*", "~", &long] {
            assert!(flaw(bad).is_some(), "{bad:?}");
        }
    }
}

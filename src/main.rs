//! The command `growmerge`.
fn main() {}

//! The room server binary.
fn main() {}

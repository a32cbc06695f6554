//! Writes docs/job-file.md to standard output.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().lock().write_all(weir_spec::reference().as_bytes())
}

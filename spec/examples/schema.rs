//! Writes the job file's JSON schema to standard output.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let schema = weir_spec::json_schema();
    writeln!(std::io::stdout().lock(), "{schema:#}")
}

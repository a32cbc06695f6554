//! Reads every byte of every value and writes a new one, through the SDK; `passthrough-raw` does the same work over
//! raw columns. A null stays one.

use weir_sdk::Result;
use weir_sdk::transform::{Context, Declare, Record, Transform};

/// Rewrites every value.
pub struct Passthrough;

impl Transform for Passthrough {
    fn init(_declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        match record.value {
            Some(value) => cx.emit_with(|out| out.extend(value.iter().map(|byte| byte ^ 0x20))),
            None => cx.forward(),
        }
        Ok(())
    }
}

weir_sdk::transform!(Passthrough);

//! Records per CPU-second from topic to topic: Weir, with a guest that rewrites every byte, against the bare librdkafka
//! loop. Both are processes of their own; start and end of both count.

use super::Bench;
use crate::job::{Delivery, operator};
use crate::kafka::{Kafka, PARTITIONS};
use crate::weir::Run;
use anyhow::{Result, ensure};
use std::process::Command;
use std::time::Duration;

/// Records of the topic.
pub const RECORDS: u64 = 4_000_000;
/// The topic.
pub const TOPIC: &str = "passthrough";
/// Bytes of a value: its number, and the same text in all.
const BYTES: usize = 100;
const NUMBER: usize = 8;

/// Records per CPU-second of the loop, and Weir's as a share of it.
pub fn measure(bench: &Bench) -> Result<Vec<f64>> {
    let copied = RECORDS as f64 / copy_loop(bench, None)?;
    let cpu = job(bench, Delivery::AT_LEAST_ONCE)?;
    Ok(vec![copied, RECORDS as f64 / cpu / copied])
}

/// CPU seconds of the job.
pub fn job(bench: &Bench, delivery: Delivery) -> Result<f64> {
    input(bench)?;
    bench.run(TOPIC, vec![operator("passthrough", "in", false)?], delivery, |kafka, to| check(kafka, to, 0x20))
}

/// CPU seconds of the loop, in transactions of `epoch` if there is one.
pub fn copy_loop(bench: &Bench, epoch: Option<Duration>) -> Result<f64> {
    input(bench)?;
    let (kafka, to) = (bench.kafka()?, bench.topic("out")?);
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["role-copy", kafka.bootstrap(), TOPIC, &to, &PARTITIONS.to_string()]);
    command.args(epoch.map(|epoch| epoch.as_millis().to_string()));
    let cpu = Run::start(&mut command, &folder.path().join("stderr"))?.wait()?;
    check(kafka, &to, 0)?;
    kafka.delete(&to)?;
    Ok(cpu)
}

/// Fills the topic.
pub fn input(bench: &Bench) -> Result<()> {
    bench.filled(TOPIC, |kafka| kafka.fill(TOPIC, RECORDS, |number, _, value| write(number, value)))
}

/// Writes the value of a number.
pub fn write(number: u64, value: &mut Vec<u8>) {
    value.extend(number.to_le_bytes());
    value.extend((NUMBER..BYTES).map(|at| b'a' + (at % 26) as u8));
}

/// The number in a value that the guest has rewritten, all bits of `flipped` in every byte.
pub fn number(value: &[u8], flipped: u8) -> Option<u64> {
    let bytes: [u8; NUMBER] = value.get(..NUMBER)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes.map(|byte| byte ^ flipped)))
}

/// Every record is there once, rewritten.
fn check(kafka: &Kafka, topic: &str, flipped: u8) -> Result<()> {
    use rdkafka::Message as _;
    let mut seen = vec![false; usize::try_from(RECORDS)?];
    let text: Vec<u8> = (NUMBER..BYTES).map(|at| (b'a' + (at % 26) as u8) ^ flipped).collect();
    let count = kafka.read(topic, |message| {
        let value = message.payload().unwrap_or_default();
        let mark = number(value, flipped).and_then(|n| seen.get_mut(usize::try_from(n).ok()?));
        let right = mark.is_some_and(|seen| !std::mem::replace(seen, true)) && value.get(NUMBER..) == Some(&text[..]);
        ensure!(right, "a value is wrong or comes twice: {value:?}");
        Ok(())
    })?;
    ensure!(count == RECORDS, "{count} records came out of {RECORDS}");
    Ok(())
}

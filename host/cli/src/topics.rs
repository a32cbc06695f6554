//! `weir topics`: Kafka topics by hand.

use crate::args::{Consume, CreateTopic, Produce, Topics, TopicsCommand};
use crate::exit::Failure;
use crate::numbers::grouped;
use crate::terminal::{self, Terminal, written};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufWriter, Write};
use std::ops::ControlFlow;
use std::time::Duration;
use weir_host::fault::Kind;
use weir_host::kafka::{Admin, Cluster, Error, Line, Position, TopicDescription};

/// A cluster that needs longer for one call is not working.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Does what was asked of a topic.
pub fn run(args: &Topics, terminal: &Terminal) -> Result<(), Failure> {
    command(args, terminal).map_err(|end| match end {
        End::Kafka(error) => failure(error, &args.brokers),
        End::Failed(failure) => failure,
    })
}

/// How a command ends before its end.
enum End {
    Kafka(Error),
    Failed(Failure),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Kafka(error)
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn command(args: &Topics, terminal: &Terminal) -> Result<(), End> {
    let cluster = Cluster::new(&args.brokers, BTreeMap::new())?;
    let admin = Admin::new(&cluster, TIMEOUT)?;
    match &args.command {
        TopicsCommand::List => terminal::print(&list(&admin.list()?))?,
        TopicsCommand::Create(create) => self::create(&admin, create, terminal)?,
        TopicsCommand::Describe { topic } => terminal::print(&describe(&admin.describe(topic)?))?,
        TopicsCommand::Produce(produce) => self::produce(&admin, produce, terminal)?,
        TopicsCommand::Consume(consume) => self::consume(&admin, consume)?,
    }
    Ok(())
}

/// What the caller named wrongly is theirs to mend; all else is the cluster's.
fn failure(error: Error, brokers: &str) -> Failure {
    let kind = match &error {
        Error::OwnedProperty { .. }
        | Error::Configuration { .. }
        | Error::TopicName { .. }
        | Error::MissingTopic { .. }
        | Error::MissingPartition { .. }
        | Error::TopicExists { .. } => Kind::BadJob,
        _ if error.is_transient() => {
            return Failure::world(format_args!("brokers {brokers}: {error}; is a broker running there? --brokers names others"));
        }
        _ => return Failure::world(format_args!("brokers {brokers}: {error}")),
    };
    Failure::new(kind, error)
}

fn list(topics: &[(String, usize)]) -> String {
    let width = topics.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, partitions) in topics {
        line(&mut text, format_args!("{name:<width$}  {partitions}"));
    }
    text
}

fn create(admin: &Admin, create: &CreateTopic, terminal: &Terminal) -> Result<(), End> {
    let configs: Vec<(&str, &str)> = create.configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    admin.create(&create.topic, create.partitions, &configs)?;
    terminal.line(&format!("created topic {} with {} partitions", create.topic, create.partitions));
    Ok(())
}

fn describe(topic: &TopicDescription) -> String {
    let mut text = format!("{}\npartition  leader  replicas  in sync   first offset  end offset\n", topic.name);
    for p in &topic.partitions {
        let (replicas, in_sync) = (numbers(&p.replicas), numbers(&p.in_sync));
        let (low, end) = (p.bounds.low, p.bounds.end);
        line(&mut text, format_args!("{:>9}  {:>6}  {replicas:<8}  {in_sync:<8}  {low:>12}  {end:>10}", p.partition, p.leader));
    }
    text
}

fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

fn produce(admin: &Admin, produce: &Produce, terminal: &Terminal) -> Result<(), End> {
    let mut lines = Lines { input: io::stdin().lock(), separator: produce.key_separator.as_deref(), number: 0, failed: None };
    let produced = admin.produce(&produce.topic, lines.by_ref())?;
    terminal.line(&format!("produced {} records to {}", grouped(produced), produce.topic));
    lines.failed.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Lines of an input as records; ends at the first that is none, and keeps why.
struct Lines<'a, R> {
    input: R,
    separator: Option<&'a str>,
    number: u64,
    failed: Option<Failure>,
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let mut bytes = Vec::new();
        match self.input.read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => self.number += 1,
            Err(error) => {
                self.failed = Some(Failure::world(format_args!("cannot read stdin: {error}")));
                return None;
            }
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        let Some(separator) = self.separator else { return Some(Line { key: None, value: Some(bytes) }) };
        let split = split(&bytes, separator.as_bytes());
        if split.is_none() {
            let message = format_args!("line {} of stdin has no `{separator}`; the lines before it are produced", self.number);
            self.failed = Some(Failure::usage(message));
        }
        split
    }
}

/// Key and value around the first separator, which is not empty.
fn split(bytes: &[u8], separator: &[u8]) -> Option<Line> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some(Line { key: bytes.get(..at).map(Into::into), value: bytes.get(at + separator.len()..).map(Into::into) })
}

fn consume(admin: &Admin, consume: &Consume) -> Result<(), End> {
    let from = if consume.from_beginning { Position::Earliest } else { Position::Latest };
    if consume.count == Some(0) {
        return Ok(());
    }
    let mut printer = Printer { out: BufWriter::with_capacity(1 << 16, io::stdout().lock()), left: consume.count, result: Ok(()) };
    let end = admin.consume(&consume.topic, from, !consume.until_end, |record| match record {
        Some((_, batch, i)) => {
            let row = batch.row(i);
            printer.record(row.key, row.value)
        }
        None => printer.pause(),
    });
    // Records already read are shown even when the next could not be.
    let flushed = printer.end();
    end?;
    Ok(flushed?)
}

/// Prints records until enough are printed or nobody reads them.
struct Printer<W: Write> {
    out: W,
    left: Option<u64>,
    result: io::Result<()>,
}

impl<W: Write> Printer<W> {
    fn record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> ControlFlow<()> {
        let parts = [key.unwrap_or(b"null"), b"\t", value.unwrap_or(b"null"), b"\n"];
        self.result = parts.iter().try_for_each(|part| self.out.write_all(part));
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        if self.result.is_err() || self.left == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Nothing more has arrived: what is buffered is to be seen.
    fn pause(&mut self) -> ControlFlow<()> {
        self.result = self.out.flush();
        if self.result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn end(mut self) -> Result<(), Failure> {
        written(self.result.and_then(|()| self.out.flush()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_host::kafka::{PartitionDescription, Watermarks};

    fn lines<'a>(input: &'a str, separator: Option<&'a str>) -> Lines<'a, &'a [u8]> {
        Lines { input: input.as_bytes(), separator, number: 0, failed: None }
    }

    fn record(key: Option<&str>, value: &str) -> Line {
        Line { key: key.map(Into::into), value: Some(value.into()) }
    }

    #[test]
    fn a_line_is_a_value_with_a_null_key_whether_or_not_the_last_ends() {
        assert_eq!(lines("a\n\nb\tc", None).collect::<Vec<_>>(), [record(None, "a"), record(None, ""), record(None, "b\tc")]);
    }

    #[test]
    fn the_first_separator_parts_key_from_value() {
        let read: Vec<_> = lines("k=>v=>w\n=>\n", Some("=>")).collect();
        assert_eq!(read, [record(Some("k"), "v=>w"), record(Some(""), "")]);
    }

    #[test]
    fn a_line_without_the_separator_ends_the_input_by_its_number() {
        let mut input = lines("a,1\nb\nc,3\n", Some(","));
        assert_eq!(input.by_ref().count(), 1);
        let failed = input.failed.unwrap();
        assert_eq!(failed.kind, Kind::BadJob);
        assert!(failed.message.starts_with("line 2 of stdin has no `,`"), "{}", failed.message);
    }

    #[test]
    fn records_are_printed_until_the_count_and_nulls_are_named() {
        let mut printed = Vec::new();
        let mut printer = Printer { out: &mut printed, left: Some(2), result: Ok(()) };
        assert!(printer.record(Some(b"k"), Some(b"v")).is_continue());
        assert!(printer.record(None, None).is_break());
        printer.end().unwrap();
        assert_eq!(String::from_utf8(printed).unwrap(), "k\tv\nnull\tnull\n");
    }

    #[test]
    fn a_reader_that_went_away_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut printer = Printer { out: Closed, left: None, result: Ok(()) };
        assert!(printer.record(None, Some(b"v")).is_break());
        assert_eq!(printer.end(), Ok(()));
    }

    #[test]
    fn topics_and_partitions_are_tables() {
        assert_eq!(list(&[("a".into(), 1), ("longer".into(), 12)]), "a       1\nlonger  12\n");
        let p = PartitionDescription {
            partition: 0,
            leader: 1,
            replicas: vec![1, 2],
            in_sync: vec![1],
            bounds: Watermarks { low: 5, end: 70 },
        };
        let text = describe(&TopicDescription { name: "t".into(), partitions: vec![p] });
        assert_eq!(
            text,
            "t\npartition  leader  replicas  in sync   first offset  end offset\n        0       1  1,2       1                    5          70\n"
        );
    }

    #[test]
    fn what_the_caller_named_wrongly_is_told_from_what_the_cluster_did() {
        assert_eq!(failure(Error::MissingTopic { topic: "t".into() }, "b:1").kind, Kind::BadJob);
        let refused = failure(Error::Authentication { reason: "no".into() }, "b:1");
        assert_eq!(refused, Failure { kind: Kind::World, message: "brokers b:1: authentication failed: no".into() });
        let nobody = failure(Error::Broker { action: "list topics".into(), reason: "down".into(), transient: true }, "b:1");
        assert_eq!(nobody.message, "brokers b:1: list topics: down; is a broker running there? --brokers names others");
    }
}

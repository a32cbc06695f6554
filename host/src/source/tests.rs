#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{PipeWriter, Write};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use weir_spec::{Format, KafkaSource, StartPosition};

use super::*;
use crate::clock;

fn open(folder: &Path, name: &str, format: Format, position: i64) -> Result<LocalSource, Error> {
    let spec = weir_spec::FileSource { path: name.into(), format };
    LocalSource::open(SourceConnector::File(&spec), (folder, &Stdin::new(0)), 4, position, thread::current())
}

fn file(content: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in"), content).unwrap();
    folder
}

fn values(batch: &Batch) -> Vec<(i64, String)> {
    (0..batch.len()).map(|i| (batch.row(i).origin.offset, String::from_utf8_lossy(batch.row(i).value.unwrap()).into_owned())).collect()
}

fn owned(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect()
}

#[test]
fn a_file_gives_its_lines_with_their_offsets_and_ends() {
    let folder = file("one\r\n\nzwölf\nlast".as_bytes());
    let mut source = open(folder.path(), "in", Format::Lines, 0).unwrap();
    let mut batch = Batch::default();
    let before = clock::now_ms();
    assert_eq!(source.fetch(100, usize::MAX, &mut batch).unwrap(), Fetched::Records(4));
    assert_eq!(values(&batch), owned(&[(0, "one"), (5, ""), (6, "zwölf"), (13, "last")]));
    for i in 0..4 {
        let row = batch.row(i);
        assert_eq!((row.key, row.origin.split), (None, 4));
        assert!((before..=clock::now_ms()).contains(&row.timestamp));
    }
    assert_eq!(batch.headers(), None);
    for _ in 0..2 {
        assert_eq!(source.fetch(100, usize::MAX, &mut batch).unwrap(), Fetched::End);
        assert_eq!((source.position(), batch.len()), (17, 4));
    }
    assert_eq!(source.next_wake(), None);
}

#[test]
fn a_file_that_resumes_at_any_position_gives_the_records_it_would_have_given() {
    let text: String = (0..2000).map(|n| format!("{n}{}\n", "x".repeat(n % 700))).collect();
    let folder = file(text.as_bytes());
    let mut whole = Batch::default();
    let mut source = open(folder.path(), "in", Format::Lines, 0).unwrap();
    let mut positions = vec![0];
    while source.fetch(37, 4000, &mut whole).unwrap() != Fetched::End {
        positions.push(source.position());
    }
    assert!(text.len() > 2 * lines::CHUNK, "more than one read");
    assert_eq!(values(&whole).iter().map(|(_, value)| format!("{value}\n")).collect::<String>(), text);
    for position in positions {
        let mut rest = Batch::default();
        let mut source = open(folder.path(), "in", Format::Lines, position).unwrap();
        assert_eq!(source.position(), position);
        while source.fetch(1000, usize::MAX, &mut rest).unwrap() != Fetched::End {}
        let expected: Vec<_> = values(&whole).into_iter().filter(|(offset, _)| *offset >= position).collect();
        assert_eq!(values(&rest), expected);
    }
}

#[test]
fn a_fetch_stops_at_either_limit_and_appends_to_what_is_there() {
    let folder = file(b"aaaa\nbbbb\ncccc\ndddd\neeee\n");
    let mut source = open(folder.path(), "in", Format::Lines, 0).unwrap();
    let mut batch = Batch::default();
    assert_eq!(source.fetch(2, usize::MAX, &mut batch).unwrap(), Fetched::Records(2));
    assert_eq!(source.fetch(100, 5, &mut batch).unwrap(), Fetched::Records(2));
    assert_eq!(source.fetch(0, 0, &mut batch).unwrap(), Fetched::Records(1));
    assert_eq!((batch.len(), source.position()), (5, 25));
}

#[test]
fn what_cannot_be_read_from_there_is_refused_by_name() {
    let folder = file(b"abc\n");
    let refused = |name, position| open(folder.path(), name, Format::Lines, position).err().unwrap();
    assert!(matches!(refused("in", 5), Error::Shorter { length: 4, position: 5, .. }));
    assert!(matches!(refused("in", -1), Error::Position { split: 4, position: -1 }));
    assert!(matches!(refused(".", 0), Error::NotAFile { .. }));
    let absent = refused("absent", 0);
    assert!(matches!(absent, Error::Open { .. }) && absent.to_string().contains("absent: No such file"), "{absent}");
    assert_eq!(open(folder.path(), "in", Format::Lines, 4).unwrap().fetch(1, 1, &mut Batch::default()).unwrap(), Fetched::End);
    let kafka = KafkaSource {
        brokers: "localhost:9092".to_owned(),
        topics: vec!["t".to_owned()],
        topic_pattern: None,
        start_position: StartPosition::Earliest,
        discovery_interval: weir_spec::Duration::secs(60),
        on_offset_out_of_range: weir_spec::OnOffsetOutOfRange::Fail,
        properties: weir_spec::Properties::default(),
    };
    let opened = LocalSource::open(SourceConnector::Kafka(&kafka), (folder.path(), &Stdin::new(0)), 4, 0, thread::current());
    assert!(matches!(opened, Err(Error::NotLocal { split: 4 })));
}

#[test]
fn ndjson_fills_all_columns_and_the_time_of_reading_where_there_is_none() {
    let folder = file(b"{\"key\":\"k\",\"value\":{\"a\": 1},\"timestamp\":7}\n{\"headers\":{\"h\":\"x\"}}\r\n");
    let mut batch = Batch::default();
    let before = clock::now_ms();
    open(folder.path(), "in", Format::Ndjson, 0).unwrap().fetch(10, usize::MAX, &mut batch).unwrap();
    let (first, second) = (batch.row(0), batch.row(1));
    assert_eq!((first.key, first.value, first.timestamp), (Some(&b"k"[..]), Some(&b"{\"a\":1}"[..]), 7));
    assert_eq!((second.key, second.value, second.origin.offset), (None, None, 43));
    assert!(second.timestamp >= before);
    assert_eq!(batch.row_headers(0).count(), 0);
    assert_eq!(batch.row_headers(1).collect::<Vec<_>>(), [(&b"h"[..], Some(&b"x"[..]))]);
}

#[test]
fn a_line_that_is_no_envelope_is_named_by_file_line_and_offset_also_after_a_resume() {
    let folder = file(b"{\"value\":\"1\"}\n{}\n{\"val\":2}\n");
    for (position, records) in [(0, 2), (14, 1), (17, 0)] {
        let mut batch = Batch::default();
        let error = open(folder.path(), "in", Format::Ndjson, position).unwrap().fetch(10, usize::MAX, &mut batch).unwrap_err();
        assert_eq!(batch.len(), records);
        assert!(matches!(error, Error::Record { line: 3, offset: 17, .. }), "{error}");
        assert!(error.to_string().contains("in: line 3, at byte 17, is no record: unknown field \"val\""), "{error}");
    }
}

/// Room for all that a test writes.
const ROOM: usize = 64 << 20;

fn source(stdin: &Stdin, format: &Format, position: i64) -> LocalSource {
    LocalSource::Stdin(stdin.source(format, 4, position, thread::current()).unwrap())
}

fn piped(format: Format) -> (PipeWriter, Stdin, LocalSource) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stdin = Stdin::new(ROOM);
    stdin.pump(reader).unwrap();
    let source = source(&stdin, &format, 0);
    (writer, stdin, source)
}

/// Fetches as a worker does: waits for the waker when there is nothing.
fn fetch_waiting(source: &mut LocalSource, into: &mut Batch) -> Result<Fetched, Error> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match source.fetch(1000, usize::MAX, into)? {
            Fetched::Idle => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
            fetched => return Ok(fetched),
        }
        assert!(Instant::now() < deadline, "nobody woke the thread");
    }
}

#[test]
fn standard_input_is_idle_until_a_line_is_whole_and_wakes_who_waits() {
    let (mut writer, _stdin, mut source) = piped(Format::Lines);
    let mut batch = Batch::default();
    assert_eq!(source.fetch(10, usize::MAX, &mut batch).unwrap(), Fetched::Idle);
    writer.write_all(b"one\ntw").unwrap();
    assert_eq!(fetch_waiting(&mut source, &mut batch).unwrap(), Fetched::Records(1));
    assert_eq!(source.position(), 4);
    assert_eq!(source.fetch(10, usize::MAX, &mut batch).unwrap(), Fetched::Idle);
    writer.write_all(b"o\nthree").unwrap();
    assert_eq!(fetch_waiting(&mut source, &mut batch).unwrap(), Fetched::Records(1));
    drop(writer);
    assert_eq!(fetch_waiting(&mut source, &mut batch).unwrap(), Fetched::Records(1));
    assert_eq!(fetch_waiting(&mut source, &mut batch).unwrap(), Fetched::End);
    assert_eq!(values(&batch), owned(&[(0, "one"), (4, "two"), (8, "three")]));
    assert_eq!(source.position(), 13);
}

#[test]
fn more_input_than_is_read_ahead_arrives_whole_and_in_order() {
    let (mut writer, _stdin, mut source) = piped(Format::Lines);
    let writing = thread::Builder::new().spawn(move || (0..300_000).try_for_each(|n| writeln!(writer, "line {n}"))).unwrap();
    let mut batch = Batch::default();
    while fetch_waiting(&mut source, &mut batch).unwrap() != Fetched::End {}
    writing.join().unwrap().unwrap();
    assert_eq!(batch.len(), 300_000);
    assert!(batch.values().iter().enumerate().all(|(n, value)| value.unwrap() == format!("line {n}").as_bytes()));
}

#[test]
fn input_that_fails_or_is_no_record_is_an_error_and_not_an_end() {
    struct Failing(Option<&'static [u8]>);
    impl std::io::Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(bytes) = self.0.take() else { return Err(io::Error::other("unplugged")) };
            into[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }
    let open = |bytes, format| {
        let stdin = Stdin::new(ROOM);
        stdin.pump(Failing(Some(bytes))).unwrap();
        let source = source(&stdin, &format, 0);
        (stdin, source)
    };
    let mut batch = Batch::default();
    let (_stdin, mut source) = open(b"one\n", Format::Lines);
    let error = loop {
        match fetch_waiting(&mut source, &mut batch) {
            Ok(fetched) => assert_eq!(fetched, Fetched::Records(1)),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Read { path, source } if path == "standard input" && source.to_string() == "unplugged"));
    let (_stdin, mut source) = open(b"{}\noops\n", Format::Ndjson);
    let error = fetch_waiting(&mut source, &mut batch).unwrap_err();
    assert!(matches!(error, Error::Record { line: 2, offset: 3, .. }), "{error}");
}

/// Input that comes when a test gives it.
struct Stepped(Receiver<&'static [u8]>);

impl io::Read for Stepped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let given = self.0.iter().find(|given| !given.is_empty()).unwrap_or_default();
        into[..given.len()].copy_from_slice(given);
        Ok(given.len())
    }
}

fn stepped(room: usize) -> (Sender<&'static [u8]>, Stdin) {
    let (sender, receiver) = bounded(0);
    let stdin = Stdin::new(room);
    stdin.pump(Stepped(receiver)).unwrap();
    (sender, stdin)
}

/// Gives bytes. With the second message they have been taken in: the input is asked for more.
fn give(to: &Sender<&'static [u8]>, bytes: &'static [u8]) {
    to.send(bytes).unwrap();
    to.send(b"").unwrap();
}

/// Fetches all that is there.
fn fetch_all(source: &mut LocalSource) -> Vec<(i64, String)> {
    let mut batch = Batch::default();
    while source.fetch(1, usize::MAX, &mut batch).unwrap() != Fetched::Idle {}
    values(&batch)
}

#[test]
fn rule_12_standard_input_that_is_not_committed_is_read_again_by_the_next_attempt() {
    let (input, stdin) = stepped(ROOM);
    let mut first = source(&stdin, &Format::Ndjson, 0);
    give(&input, b"{\"value\":\"1\"}\n{\"value\":\"2\"}\n{\"val");
    assert_eq!(fetch_all(&mut first), owned(&[(0, "1"), (14, "2")]));
    first.end_epoch();
    let committed = first.position();
    first.committed();
    // An epoch that is never committed, and half a line.
    give(&input, b"ue\":\"3\"}\n{\"val");
    assert_eq!(fetch_all(&mut first), owned(&[(28, "3")]));
    first.end_epoch();
    drop(first);
    for _ in 0..2 {
        let mut again = source(&stdin, &Format::Ndjson, committed);
        assert_eq!(fetch_all(&mut again), owned(&[(28, "3")]));
    }
    give(&input, b"ue\":\"4\"}\n{}\noops\n");
    let mut unheard = source(&stdin, &Format::Ndjson, committed);
    assert_eq!(unheard.fetch(3, usize::MAX, &mut Batch::default()).unwrap(), Fetched::Records(3));
    let position = unheard.position();
    drop(unheard);
    // Committed, although its worker has not heard of that.
    let error = source(&stdin, &Format::Ndjson, position).fetch(1, usize::MAX, &mut Batch::default()).unwrap_err();
    assert!(matches!(error, Error::Record { line: 6, offset: 59, .. }), "{error}");
    for gone in [committed, position + 1_000] {
        let refused = stdin.source(&Format::Ndjson, 4, gone, thread::current()).err().unwrap();
        assert!(matches!(refused, Error::Position { split: 4, position } if position == gone), "{refused}");
    }
}

#[test]
fn an_attempt_reads_csv_on_from_wherever_a_row_was_cut() {
    const TEXT: &[u8] = "\u{feff}a,b\r\n1,\"x\ny\"\n2,é\n3,\n".as_bytes();
    let format = Format::Csv(weir_spec::CsvFormat::default());
    let folder = file(TEXT);
    let mut whole = Batch::default();
    open(folder.path(), "in", format.clone(), 0).unwrap().fetch(10, usize::MAX, &mut whole).unwrap();
    assert_eq!(whole.len(), 3);
    for (cut, heard) in (1..TEXT.len()).flat_map(|cut| [(cut, false), (cut, true)]) {
        let (input, stdin) = stepped(ROOM);
        let (begin, rest) = TEXT.split_at(cut);
        let mut first = source(&stdin, &format, 0);
        give(&input, begin);
        let mut read = fetch_all(&mut first);
        first.end_epoch();
        let committed = first.position();
        if heard {
            first.committed();
        }
        drop(first);
        give(&input, rest);
        read.extend(fetch_all(&mut source(&stdin, &format, committed)));
        assert_eq!(read, values(&whole), "cut at {cut}");
    }
}

#[test]
fn an_epoch_takes_so_much_of_standard_input_and_a_process_goes_on_counting_where_the_run_was() {
    let (input, stdin) = stepped(8);
    let mut first = source(&stdin, &Format::Lines, 1_000);
    give(&input, b"one.\ntwo.\nsix.\n");
    assert_eq!((first.position(), first.kept_bytes()), (1_000, 0));
    assert_eq!(fetch_all(&mut first), owned(&[(0, "one."), (5, "two.")]));
    assert_eq!((first.position(), first.kept_bytes()), (1_010, 10));
    first.end_epoch();
    assert_eq!(first.kept_bytes(), 0);
    assert_eq!(fetch_all(&mut first), owned(&[(10, "six.")]));
    drop(first);
    let mut second = source(&stdin, &Format::Lines, 1_005);
    assert_eq!(fetch_all(&mut second), owned(&[(5, "two."), (10, "six.")]));
}

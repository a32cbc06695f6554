#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use weir_spec::{BlackholeSink, FileSink, FileSource, SourceConnector};

use super::*;
use crate::record::{Origin, RowRef};
use crate::source::random::Random;
use crate::source::{Fetched, LocalSource, Stdin};

fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for value in values {
        batch.push(RowRef { key: None, value: Some(value.as_bytes()), timestamp: 0, origin: Origin { split: 0, offset: 0 } });
    }
    batch
}

fn open(folder: &Path, name: &str, start: Start) -> Result<LocalSink, Error> {
    let sink = FileSink { path: name.into(), format: Format::Lines };
    LocalSink::open(SinkConnector::File(&sink), folder, start)
}

#[test]
fn a_new_run_creates_its_file_but_touches_none_that_has_content() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), "out", Start::New).unwrap();
    sink.write(&batch(&["a", "bc"])).unwrap();
    sink.write(&batch(&["d"])).unwrap();
    sink.flush().unwrap();
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), b"a\nbc\nd\n");
    assert_eq!((sink.bytes(), sink.records()), (7, 3));

    let error = open(folder.path(), "out", Start::New).err().unwrap();
    assert!(matches!(error, Error::NotEmpty { bytes: 7, .. }));
    assert!(error.to_string().contains("out already has 7 bytes") && error.to_string().contains("--fresh"), "{error}");
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), b"a\nbc\nd\n");

    let fresh = open(folder.path(), "out", Start::Fresh).unwrap();
    fresh.cut().unwrap();
    fresh.write(&batch(&["e"])).unwrap();
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), b"e\n");
}

#[test]
fn a_resumed_file_is_cut_back_to_what_was_committed_and_grows_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path(), "out", Start::New).unwrap();
    sink.write(&batch(&["committed"])).unwrap();
    let committed = sink.bytes();
    sink.write(&batch(&["lost"])).unwrap();
    drop(sink);
    let sink = open(folder.path(), "out", Start::Resume { committed }).unwrap();
    assert_eq!(sink.bytes(), committed);
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), b"committed\nlost\n", "not before it is told to");
    sink.cut().unwrap();
    sink.write(&batch(&["again"])).unwrap();
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), b"committed\nagain\n");
    assert_eq!(sink.bytes(), 16);
}

#[test]
fn a_file_that_lost_committed_bytes_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("out"), "ab").unwrap();
    let error = open(folder.path(), "out", Start::Resume { committed: 3 }).err().unwrap();
    assert!(matches!(error, Error::Shorter { bytes: 2, committed: 3, .. }));
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), b"ab");
    assert!(matches!(open(folder.path(), "absent", Start::Resume { committed: 1 }), Err(Error::Shorter { bytes: 0, .. })));
    assert!(!folder.path().join("absent").exists());
    assert!(open(folder.path(), "absent", Start::Resume { committed: 0 }).is_ok());
}

#[test]
fn what_is_no_file_or_cannot_be_created_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open(folder.path(), ".", Start::Fresh), Err(Error::NotAFile { .. })));
    fs::write(folder.path().join("file"), "").unwrap();
    let error = open(folder.path(), "file/within", Start::New).err().unwrap();
    assert!(matches!(&error, Error::Open { .. }) && error.to_string().contains("file/within"), "{error}");
    assert!(open(folder.path(), "new/folder/out", Start::New).is_ok());
}

#[test]
fn batches_of_several_workers_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Arc::new(open(folder.path(), "out", Start::New).unwrap());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let sink = Arc::clone(&sink);
            scope.spawn(move || {
                for n in 0..50 {
                    let value = format!("{worker} {n}");
                    sink.write(&batch(&[value.as_str(); 10])).unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(folder.path().join("out")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), sink.records(), sink.bytes()), (2000, 2000, text.len() as u64));
    assert!(lines.chunks(10).all(|chunk| chunk.iter().all(|line| *line == chunk[0])));
    for worker in 0..4 {
        let own = lines.chunks(10).filter_map(|chunk| chunk[0].strip_prefix(&format!("{worker} "))).map(|n| n.parse::<u32>().unwrap());
        assert!(own.eq(0..50), "batches of worker {worker} are in order");
    }
}

fn stdout_into_pipe() -> (LocalSink, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (LocalSink::over(Target::Stdout(File::from(OwnedFd::from(writer))), Format::Lines, 0), reader)
}

#[test]
fn standard_output_gets_batches_as_they_come() {
    let (sink, mut reader) = stdout_into_pipe();
    let mut bytes = [0; 4];
    sink.write(&batch(&["a", "b"])).unwrap();
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"a\nb\n");
    sink.flush().unwrap();
    assert_eq!((sink.bytes(), sink.records()), (4, 2));
}

#[test]
fn a_reader_that_went_away_is_told_apart_from_a_failure() {
    let (sink, reader) = stdout_into_pipe();
    drop(reader);
    assert!(matches!(sink.write(&batch(&["a"])), Err(Error::Closed)));
    assert_eq!((sink.bytes(), sink.records()), (0, 0));
    let read_only = LocalSink::over(Target::Stdout(File::open("Cargo.toml").unwrap()), Format::Lines, 0);
    assert!(matches!(read_only.write(&batch(&["a"])), Err(Error::Write { .. })));
}

#[test]
fn a_blackhole_counts_what_it_drops() {
    let sink = LocalSink::open(SinkConnector::Blackhole(&BlackholeSink {}), Path::new(""), Start::New).unwrap();
    sink.write(&batch(&["abc", "d"])).unwrap();
    sink.write(&batch(&["e"])).unwrap();
    sink.flush().unwrap();
    assert_eq!((sink.records(), sink.bytes()), (3, 5));
}

/// Bytes, or none, of every kind that an envelope treats differently.
fn bytes(random: &mut Random) -> Option<Vec<u8>> {
    const TEXTS: [&str; 8] =
        ["", "plain", "é😀\u{0}\u{1f}\u{7f}", "\"\\\n\r\t", "null", "{\"key\": 1}", "\u{2028}\u{feff}", " 12345678901234567890 "];
    match random.below(4) {
        0 => None,
        1 => Some(TEXTS[random.below(8) as usize].as_bytes().to_vec()),
        2 => Some((0..random.below(20)).map(|_| random.bits() as u8).collect()),
        _ => Some((0..random.below(300)).map(|_| random.below(128) as u8).collect()),
    }
}

#[test]
fn records_written_as_ndjson_are_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (mut written, mut tombstones, mut binaries) = (Batch::default(), 0, 0);
    for number in 0..5000 {
        let mut random = Random::new(1, number);
        let (key, value) = (bytes(&mut random), bytes(&mut random));
        tombstones += u32::from(value.is_none());
        binaries += u32::from(value.as_ref().is_some_and(|value| std::str::from_utf8(value).is_err()));
        let timestamp = [0, -1, i64::MIN, i64::MAX, 1_700_000_000_000][random.below(5) as usize];
        let row = RowRef { key: key.as_deref(), value: value.as_deref(), timestamp, origin: Origin { split: 0, offset: 0 } };
        let names = ["", "trace", "é\"", "trace"];
        let count = random.below(5).saturating_sub(1) as usize;
        let headers: Vec<_> = names.iter().take(count + count / 3).map(|name| (*name, bytes(&mut random))).collect();
        written.push_with_headers(row, headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())));
    }
    assert!(tombstones > 500 && binaries > 500);

    let spec = FileSink { path: "records".into(), format: Format::Ndjson };
    let sink = LocalSink::open(SinkConnector::File(&spec), folder.path(), Start::New).unwrap();
    sink.write(&written).unwrap();
    let spec = FileSource { path: "records".into(), format: Format::Ndjson };
    let mut source =
        LocalSource::open(SourceConnector::File(&spec), (folder.path(), &Stdin::new(0)), 0, 0, std::thread::current()).unwrap();
    let mut read = Batch::default();
    while source.fetch(700, usize::MAX, &mut read).unwrap() != Fetched::End {}

    assert_eq!(read.len(), written.len());
    for i in 0..written.len() {
        let (was, is) = (written.row(i), read.row(i));
        assert_eq!((is.key, is.value, is.timestamp), (was.key, was.value, was.timestamp), "record {i}");
        assert!(read.row_headers(i).eq(written.row_headers(i)), "headers of record {i}");
    }
    assert_eq!(source.position() as u64, sink.bytes());
}

//! What released guests are compiled against must not change: the contract's text and the bytes of a column.
#![allow(clippy::unwrap_used)]

use weir_sdk::ColumnBuilder;
use weir_sdk::bindings::Column;

/// 0.1.0 without comments. A later version is a new file; this one stays, and what it has must stay too.
const PINNED: &str = include_str!("operator-0.1.0.wit");
const CURRENT: &str = include_str!("../../../wit/operator.wit");

#[test]
fn the_contract_is_the_pinned_one_but_for_comments() {
    let lines = CURRENT.lines().map(|line| line.split("//").next().unwrap_or_default().trim_end());
    let current: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert_eq!(current, PINNED.lines().collect::<Vec<_>>());
}

const ENTRIES: [Option<&str>; 10] = [Some("a"), None, Some(""), Some("é"), Some("\0"), Some("日本"), None, Some("bc"), None, Some("z")];

fn known() -> Column {
    ENTRIES.iter().map(|entry| entry.map(str::as_bytes)).collect()
}

#[test]
fn a_column_has_the_pinned_bytes() {
    let column = known();
    assert_eq!(column.offsets, [0, 1, 1, 1, 3, 4, 10, 10, 12, 12, 13]);
    assert_eq!(column.data, b"a\xc3\xa9\0\xe6\x97\xa5\xe6\x9c\xacbcz");
    assert_eq!(column.validity, [0b1011_1101, 0b10]);
}

#[test]
fn a_column_without_nulls_has_no_bitmap_and_one_without_entries_one_offset() {
    let column: Column = [Some(&b"x"[..]), Some(b"")].into_iter().collect();
    assert_eq!((column.offsets, column.data, column.validity), (vec![0, 1, 1], b"x".to_vec(), vec![]));
    let empty: Column = [].into_iter().collect();
    assert_eq!((empty.offsets, empty.data, empty.validity), (vec![0], vec![], vec![]));
}

#[test]
fn entries_read_back_as_written_by_position_and_in_order() {
    let column = known();
    let expected: Vec<Option<&[u8]>> = ENTRIES.iter().map(|entry| entry.map(str::as_bytes)).collect();
    assert_eq!(column.iter().collect::<Vec<_>>(), expected);
    assert_eq!((0..column.len()).map(|at| column.get(at)).collect::<Vec<_>>(), expected);
    assert_eq!(column.get(column.len()), None);
}

#[test]
fn bits_behind_the_last_entry_are_ignored() {
    let column = Column { validity: vec![0b1011_1101, 0b1111_1110], ..known() };
    assert_eq!(column.iter().collect::<Vec<_>>(), known().iter().collect::<Vec<_>>());
}

#[test]
fn a_shortened_builder_forgets_bytes_and_nulls() {
    let mut builder = ColumnBuilder::default();
    ENTRIES.iter().for_each(|entry| builder.push(entry.map(str::as_bytes)));
    builder.truncate(1);
    builder.push(Some(b"b"));
    let column = builder.finish();
    assert_eq!((column.offsets, column.data, column.validity), (vec![0, 1, 2], b"ab".to_vec(), vec![]));
}

//! What the main header says, and the JP2 file around a stream.

use tilefleet_jpeg2000::{Component, ErrorKind, Header, decode};

use crate::cases::OPTIONS;
use crate::golden::stream;

fn header(name: &str) -> Header {
    Header::parse(&stream(name)).unwrap()
}

#[test]
fn sizes_bits_and_signs_are_read() {
    let signed = header("signed 12 colour");
    let component = Component { width: 33, height: 20, bits: 12, signed: true, sampling: (1, 1) };
    assert_eq!((signed.width, signed.height, &signed.components), (33, 20, &vec![component; 3]));
    let halved = header("halved").components;
    let sizes =
        [halved[0], halved[1]].map(|component| (component.width, component.height, component.sampling));
    assert_eq!(sizes, [(46, 38, (1, 1)), (23, 19, (2, 2))]);
}

#[test]
fn coding_is_read() {
    let plain = header("plain 16");
    assert_eq!((plain.num_levels, plain.num_layers), (5, 1));
    assert!(plain.reversible && !plain.high_throughput && !plain.component_transform);
    assert_eq!(header("LRCP").num_layers, 3);
    assert!(!header("irreversible").reversible);
    assert!(header("HT 16").high_throughput && header("HT 16").reversible);
    assert!(header("colour").component_transform && !header("colour, no transform").component_transform);
}

/// The header needs no more of the stream than its main header.
#[test]
fn nothing_behind_the_main_header_is_needed() {
    let stream = stream("tiles");
    let start = stream.windows(2).position(|pair| pair == [0xFF, 0x90]).unwrap();
    assert_eq!(Header::parse(&stream[..start + 2]), Header::parse(&stream));
    assert_eq!(Header::parse(&stream[..start]).unwrap_err().kind, ErrorKind::Truncated);
}

/// A JP2 file holds its stream in a box, whose length may be told in three ways.
#[test]
fn jp2_files_hold_streams() {
    let stream = stream("colour");
    let expected = decode(&stream, &OPTIONS).unwrap();
    let signature = b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x0Cftypjp2 ";
    let len = stream.len() as u32;
    for box_len in [len + 8, 0, 1] {
        let mut file = signature.to_vec();
        file.extend(box_len.to_be_bytes());
        file.extend(b"jp2c");
        if box_len == 1 {
            file.extend((u64::from(len) + 16).to_be_bytes());
        }
        file.extend(&stream);
        assert_eq!(decode(&file, &OPTIONS).as_ref(), Ok(&expected), "a box of {box_len}");
    }
    let mut palette = signature.to_vec();
    palette.extend(b"\0\0\0\x10jp2h\0\0\0\x08pclr");
    assert_eq!(decode(&palette, &OPTIONS).unwrap_err().kind, ErrorKind::Unsupported);
}

/// Anything else is no code stream.
#[test]
fn other_files_are_corrupt() {
    assert_eq!(Header::parse(b"\x89PNG\r\n\x1A\n").unwrap_err().kind, ErrorKind::Corrupt);
    assert_eq!(Header::parse(b"").unwrap_err().kind, ErrorKind::Truncated);
}

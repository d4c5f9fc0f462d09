//! The writer thread at stdout: every byte in order, within bounds, and its errors.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use p2pchat::shell::stdio::output_writer::OutputWriter;

use super::support::{PATIENCE, counter, pipe, wait};

/// The queue is bounded; a refused chunk comes back whole, and no accepted byte is lost.
#[test]
fn a_full_queue_returns_the_chunk_and_loses_nothing() {
    let (mut reader, writer) = pipe();
    let (wakes, wake) = counter();
    let output = OutputWriter::with_file(writer, wake).unwrap();
    let mut sent = Vec::new();
    let mut count = 0u64;
    loop {
        // Sizes that the writer writes at once, joins with others, or writes alone.
        let size = [10, 3000, 20_000][count as usize % 3];
        let mut chunk = output.take_buffer();
        assert!(chunk.is_empty());
        writeln!(chunk, "{count}:{}", "x".repeat(size)).unwrap();
        let bytes = chunk.clone();
        if let Err(back) = output.try_send(chunk) {
            assert_eq!(back, bytes, "a refused chunk comes back whole");
            break;
        }
        count += 1;
        sent.extend_from_slice(&bytes);
        assert!(sent.len() < 1 << 20, "the queue has no bound");
    }
    assert!(sent.len() >= 512 * 1024 && !output.can_accept());
    assert!(output.written_bytes() < sent.len() as u64);
    let before = wakes.load(Ordering::SeqCst);
    let short = Duration::from_millis(20);
    assert!(!output.flush(short), "nobody reads");
    let mut received = vec![0; sent.len()];
    reader.read_exact(&mut received).unwrap();
    assert!(received == sent, "every byte, in order");
    assert!(output.flush(PATIENCE));
    assert_eq!(output.written_bytes(), sent.len() as u64);
    wait("wake", || wakes.load(Ordering::SeqCst) > before);
    assert!(output.can_accept());
    output.try_send(b"last\n".to_vec()).unwrap();
    let mut last = [0; 5];
    reader.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"last\n");
    assert!(output.flush(PATIENCE));
    assert_eq!(output.written_bytes(), sent.len() as u64 + 5);
    assert!(output.error().is_none());
}

/// What a pipe has room for needs no thread. The thread writes the rest, in order.
#[test]
fn what_a_pipe_takes_is_written_at_once() {
    let (mut reader, writer) = pipe();
    let (wakes, wake) = counter();
    let output = OutputWriter::with_file(writer, wake).unwrap();
    output.try_send(vec![b'a'; 20_000]).unwrap();
    assert_eq!((output.written_bytes(), output.is_idle()), (20_000, true));
    assert_eq!(wakes.load(Ordering::SeqCst), 0, "the thread has written");
    output.try_send(vec![b'b'; 100_000]).unwrap();
    assert!(output.written_bytes() > 20_000 && !output.is_idle());
    output.try_send(b"c".to_vec()).unwrap();
    let mut received = vec![0; 120_001];
    reader.read_exact(&mut received).unwrap();
    let expected = [vec![b'a'; 20_000], vec![b'b'; 100_000], vec![b'c']].concat();
    assert!(received == expected, "every byte, in order");
    assert!(output.flush(PATIENCE));
    assert_eq!(output.written_bytes(), 120_001);
}

/// The error wakes the loop, and the lines before it count as written.
#[test]
fn a_closed_pipe_is_reported_as_an_error() {
    let (reader, writer) = pipe();
    let (wakes, wake) = counter();
    let output = OutputWriter::with_file(writer, wake).unwrap();
    output.try_send(b"one\n".to_vec()).unwrap();
    assert!(output.flush(PATIENCE));
    drop(reader);
    output.try_send(b"two\n".to_vec()).unwrap();
    wait("wake", || wakes.load(Ordering::SeqCst) == 1);
    let error = output.error().map(|error| error.kind());
    assert_eq!(error, Some(ErrorKind::BrokenPipe));
    assert_eq!(output.written_bytes(), 4);
    assert!(!output.flush(PATIENCE) && !output.can_accept());
    assert!(output.try_send(b"three\n".to_vec()).is_err());
}

/// A file on stdout is written from its current offset on.
#[test]
fn a_file_is_written_at_its_offset() {
    let path = std::env::temp_dir().join(format!("p2pchat-output-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let output = OutputWriter::with_file(file, || {}).unwrap();
    output.try_send(b"after\n".to_vec()).unwrap();
    assert!(output.flush(PATIENCE));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text, "before\nafter\n");
}

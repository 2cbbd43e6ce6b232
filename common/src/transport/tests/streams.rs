//! Records over streams: batches, cancellation, cuts, failures.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::transport::cipher::DirectionCipher;
use crate::transport::error::RecordError;
use crate::transport::record::{MAX_MESSAGE, MAX_RECORD_DATA};
use crate::transport::{RecordReader, RecordWriter, Stream};

use super::connected;
use super::records::{FIRST, KEY, LAST, one, sealed, sealing, trailer};

/// Two ends, and the pipe between them in the hands of the test.
fn ends() -> (RecordWriter<DuplexStream>, DuplexStream) {
    let (near, wire) = duplex(1 << 20);
    (RecordWriter::new(near, &KEY, Vec::new()), wire)
}

/// A reader past the identity, of which the test plays the writer.
async fn reader(
    wire: &mut DuplexStream,
    io: DuplexStream,
) -> (RecordReader<DuplexStream>, DirectionCipher) {
    let mut cipher = sealing();
    let identity = one(&mut cipher, &[1; 100], trailer(FIRST | LAST, 2, 0, 100));
    wire.write_all(&identity).await.unwrap();
    let mut reader = RecordReader::new(io, &KEY, 100);
    assert_eq!(reader.read_identity().await.unwrap(), vec![1; 100]);
    (reader, cipher)
}

#[tokio::test]
async fn a_batch_of_small_messages_is_one_write() {
    let (mut writer, mut wire) = ends();
    writer
        .write_messages(&[[1; 10], [2; 10], [3; 10]])
        .await
        .unwrap();
    let mut bytes = vec![0; 1_000];
    assert_eq!(
        wire.read(&mut bytes).await.unwrap(),
        3 * 90,
        "one read finds all"
    );
}

#[tokio::test]
async fn a_message_that_is_too_long_leaves_the_writer_usable() {
    let (mut near, mut far) = connected().await;
    let messages = [vec![1; 5], vec![0; MAX_MESSAGE + 1]];
    let error = near.writer.write_messages(&messages).await.unwrap_err();
    assert!(
        matches!(
            error,
            RecordError::MessageTooLong {
                received: false,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_peer_fault());
    near.writer.write_message(b"next").await.unwrap();
    assert_eq!(far.reader.read_message().await.unwrap(), b"next");
}

#[tokio::test]
async fn four_mebibytes_cross_a_connection() {
    let (mut near, mut far) = connected().await;
    let message: Vec<u8> = (0..MAX_MESSAGE)
        .map(|n| u8::try_from(n % 253).unwrap())
        .collect();
    let (sent, got) = tokio::join!(
        near.writer.write_message(&message),
        far.reader.read_message()
    );
    sent.unwrap();
    assert_eq!(got.unwrap(), message);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_given_up_closes_the_writer() {
    let (near, _wire) = duplex(10);
    let mut writer = RecordWriter::new(near, &KEY, Vec::new());
    let given_up =
        tokio::time::timeout(Duration::from_secs(1), writer.write_message(b"stuck")).await;
    assert!(given_up.is_err());
    assert!(matches!(
        writer.write_message(b"next").await,
        Err(RecordError::Failed)
    ));
    assert!(matches!(
        writer.write_decoy(64).await,
        Err(RecordError::Failed)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_given_up_loses_nothing() {
    let (mut wire, io) = duplex(1 << 20);
    let (mut reader, mut cipher) = reader(&mut wire, io).await;
    let message = vec![5; 2 * MAX_RECORD_DATA];
    let bytes = sealed(&mut cipher, &message).concat();
    for chunk in bytes.chunks(10_000) {
        let given_up = tokio::time::timeout(Duration::from_millis(1), reader.read_message()).await;
        assert!(given_up.is_err());
        wire.write_all(chunk).await.unwrap();
    }
    assert_eq!(reader.read_message().await.unwrap(), message);
}

#[tokio::test]
async fn a_cut_at_any_byte_is_told_from_a_close() {
    let length = sealed(&mut sealing(), b"message").concat().len();
    for cut in 0..length {
        let (mut wire, io) = duplex(1 << 20);
        let (mut reader, mut cipher) = reader(&mut wire, io).await;
        let bytes = sealed(&mut cipher, b"message").concat();
        wire.write_all(&bytes[..cut]).await.unwrap();
        drop(wire);
        let error = reader.read_message().await.unwrap_err();
        match cut {
            0 => assert!(matches!(error, RecordError::Closed), "{error}"),
            _ => assert!(
                matches!(error, RecordError::Truncated),
                "cut at {cut}: {error}"
            ),
        }
        assert!(matches!(
            reader.read_message().await,
            Err(RecordError::Failed)
        ));
    }
    // Between two records of one message.
    let (mut wire, io) = duplex(1 << 20);
    let (mut reader, mut cipher) = reader(&mut wire, io).await;
    let records = sealed(&mut cipher, &vec![1; MAX_RECORD_DATA + 1]);
    wire.write_all(&records[0]).await.unwrap();
    drop(wire);
    assert!(matches!(
        reader.read_message().await,
        Err(RecordError::Truncated)
    ));
}

#[tokio::test]
async fn a_failure_stays() {
    let (mut wire, io) = duplex(1 << 20);
    let (mut reader, mut cipher) = reader(&mut wire, io).await;
    let mut bad = sealed(&mut cipher, b"first").concat();
    *bad.last_mut().unwrap() ^= 1;
    wire.write_all(&bad).await.unwrap();
    wire.write_all(&sealed(&mut cipher, b"second").concat())
        .await
        .unwrap();
    assert!(matches!(
        reader.read_message().await,
        Err(RecordError::Decrypt)
    ));
    assert!(matches!(
        reader.read_message().await,
        Err(RecordError::Failed)
    ));
}

#[tokio::test]
async fn the_halves_work_in_different_tasks() {
    let (near, far) = connected().await;
    let (mut near_reader, mut near_writer) = (near.reader, near.writer);
    let (mut far_reader, mut far_writer) = (far.reader, far.writer);
    let echo = tokio::spawn(async move {
        while let Ok(message) = far_reader.read_message().await {
            far_writer.write_message(&message).await.unwrap();
        }
    });
    let send = tokio::spawn(async move {
        for n in 0..2_000_u32 {
            near_writer.write_message(&n.to_be_bytes()).await.unwrap();
        }
        near_writer
    });
    for n in 0..2_000_u32 {
        assert_eq!(near_reader.read_message().await.unwrap(), n.to_be_bytes());
    }
    drop((send.await.unwrap(), near_reader));
    echo.await.unwrap();
}

#[tokio::test]
async fn shutdown_is_seen_as_closed() {
    let (mut near, mut far) = connected().await;
    near.writer.write_message(b"last").await.unwrap();
    near.writer.shutdown().await.unwrap();
    assert_eq!(far.reader.read_message().await.unwrap(), b"last");
    assert!(matches!(
        far.reader.read_message().await,
        Err(RecordError::Closed)
    ));
    assert!(matches!(
        near.writer.write_message(b"no").await,
        Err(RecordError::Failed)
    ));
}

#[test]
fn the_stream_halves_are_the_sockets_own() {
    fn owned<S: Stream>() {}
    owned::<tokio::net::TcpStream>();
    owned::<DuplexStream>();
    owned::<tokio::io::Join<tokio::io::Empty, tokio::io::Sink>>();
}

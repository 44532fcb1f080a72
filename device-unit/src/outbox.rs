//! The bounded queue of messages to one connection. Sending never blocks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::unit::ReplySink;

/// From this size on, senders that can wait should wait ([`ReplySink::has_room`]).
const SENDERS_WAIT_BYTES: usize = 256 << 10;
/// From this size on, nothing more is read from the connection.
const READING_WAITS_BYTES: usize = 1 << 20;
/// From this size on, the connection is closed, like llm-sys does at the same size (PROTOCOL 1.7).
const LIMIT_BYTES: usize = 16 << 20;

/// Pause between the frames of one answer, for clients that take each read for one message.
///
/// A fixed pause, because TCP does not report when a client has read: an empty send queue (`SIOCOUTQ`) only means that the peer's system
/// has acknowledged, and its receive window moves by far more than a frame. A client that is delayed for longer may still find two frames
/// in one read. Waiting for the acknowledgement of each frame would delay it by the 40 ms of delayed ACKs.
const FRAME_PAUSE: Duration = Duration::from_millis(10);

/// A queue between the senders of replies and the async task that writes them.
#[derive(Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// Notified when there is something to write, or at the end.
    filled: Notify,
    /// Notified after every write, and at the end.
    written: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The last written frame: its answer and the time. Frames of answers that alternate are not spaced: a client that takes each read
    /// for one message must have one inference at a time.
    last_frame: Option<(u64, Instant)>,
    /// Whether no more messages are accepted.
    closed: bool,
    /// Whether the queue ends when it is empty.
    closing: bool,
}

struct Message {
    bytes: Vec<u8>,
    /// The answer of which it is a frame, if its frames are spaced in time.
    frame_of: Option<u64>,
}

/// What the writer does next.
enum Next {
    Batch(Vec<u8>),
    /// Wait this long.
    After(Duration),
    Nothing,
    End,
}

impl Queue {
    /// Returns how long a frame of this answer must wait.
    fn wait_of(&self, answer: u64) -> Duration {
        match self.last_frame {
            Some((last, at)) if last == answer => FRAME_PAUSE.saturating_sub(at.elapsed()),
            _ => Duration::ZERO,
        }
    }

    fn next(&mut self) -> Next {
        if self.closed || (self.closing && self.messages.is_empty()) {
            return Next::End;
        }
        let Some(first) = self.messages.front() else {
            return Next::Nothing;
        };
        if let Some(answer) = first.frame_of {
            let wait = self.wait_of(answer);
            if !wait.is_zero() {
                return Next::After(wait);
            }
            self.last_frame = Some((answer, Instant::now()));
            return match self.messages.pop_front() {
                Some(frame) => Next::Batch(frame.bytes),
                None => Next::Nothing,
            };
        }
        // Small messages are written together: one system call and fewer packets.
        let mut batch = Vec::new();
        while batch.len() < 64 << 10
            && let Some(next) = self.messages.pop_front_if(|next| next.frame_of.is_none())
        {
            if batch.is_empty() {
                batch = next.bytes;
            } else {
                batch.extend_from_slice(&next.bytes);
            }
        }
        Next::Batch(batch)
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until more may be read from the connection. Returns `false` when the connection has ended.
    pub async fn wait_to_read(&self) -> bool {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            {
                let queue = self.lock();
                if queue.closed {
                    return false;
                }
                if queue.bytes < READING_WAITS_BYTES {
                    return true;
                }
            }
            written.await;
        }
    }

    /// Waits until the connection has ended.
    pub async fn ended(&self) {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            // Registered before checking: `notify_waiters` wakes only waiters that are registered.
            written.as_mut().enable();
            if self.lock().closed {
                return;
            }
            written.await;
        }
    }

    /// Drops the queue and accepts no more.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.messages.clear();
        queue.bytes = 0;
        drop(queue);
        self.filled.notify_one();
        self.written.notify_waiters();
    }

    /// Accepts no more; what is queued is still written.
    pub fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_one();
    }

    /// Writes messages until [`close`](Self::close), [`abandon`](Self::abandon) or an error.
    ///
    /// # Errors
    /// Those of the connection; the outbox is abandoned then.
    pub async fn write_to(&self, mut connection: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let result = self.write_all(&mut connection).await;
        self.abandon();
        let ended = connection.shutdown().await;
        result.and(ended)
    }

    async fn write_all(&self, connection: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        loop {
            let next = self.lock().next();
            let batch = match next {
                Next::Batch(batch) => batch,
                Next::After(wait) => {
                    tokio::time::sleep(wait).await;
                    continue;
                }
                Next::Nothing => {
                    self.filled.notified().await;
                    continue;
                }
                Next::End => return Ok(()),
            };
            // Bytes being written still count, since they are in memory.
            let written = self.write_unless_gone(connection, &batch).await;
            let mut queue = self.lock();
            queue.bytes = queue.bytes.saturating_sub(batch.len());
            drop(queue);
            self.written.notify_waiters();
            if !written? {
                return Ok(());
            }
        }
    }

    /// Returns `false` if the connection was abandoned meanwhile.
    async fn write_unless_gone(
        &self,
        connection: &mut (impl AsyncWrite + Unpin),
        mut bytes: &[u8],
    ) -> std::io::Result<bool> {
        while !bytes.is_empty() {
            tokio::select! {
                written = connection.write(bytes) => match written? {
                    0 => return Err(std::io::ErrorKind::WriteZero.into()),
                    count => bytes = &bytes[count..],
                },
                () = self.filled.notified() => {
                    let queue = self.lock();
                    if queue.closed {
                        return Ok(false);
                    }
                }
            }
        }
        // This may have consumed a notification of new messages; the caller checks the queue in any case.
        Ok(true)
    }
}

impl Outbox {
    fn put(&self, bytes: Vec<u8>, frame_of: Option<u64>) {
        let mut queue = self.lock();
        if queue.closed || queue.closing {
            return;
        }
        queue.bytes += bytes.len();
        queue.messages.push_back(Message { bytes, frame_of });
        let too_much = queue.bytes > LIMIT_BYTES && queue.messages.len() > 1;
        drop(queue);
        if too_much {
            tracing::info!("a client does not read; its connection is closed");
            return self.abandon();
        }
        self.filled.notify_one();
    }
}

impl ReplySink for Outbox {
    fn send(&self, message: Vec<u8>) {
        self.put(message, None);
    }

    fn send_frame(&self, message: Vec<u8>, answer: u64) {
        self.put(message, Some(answer));
    }

    fn takes_frame(&self, answer: u64) -> bool {
        let queue = self.lock();
        let queued = queue.messages.iter().any(|message| message.frame_of == Some(answer));
        queue.bytes < SENDERS_WAIT_BYTES && !queued && queue.wait_of(answer).is_zero()
    }

    fn has_room(&self) -> bool {
        self.lock().bytes < SENDERS_WAIT_BYTES
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use softprefix_core::prefix::split_mix;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn messages_are_written_in_order_before_the_end() {
        let outbox = Arc::new(Outbox::default());
        let (mut client, server) = tokio::io::duplex(16);
        let writer = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.write_to(server).await }
        });
        for i in 0..100 {
            outbox.send(format!("{i}\n").into_bytes());
        }
        outbox.close();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, (0..100).map(|i| format!("{i}\n")).collect::<String>());
        writer.await.unwrap().unwrap();
        assert!(outbox.is_closed());
    }

    const SENDERS: usize = 4;
    const MESSAGES: usize = 60;

    /// Returns a number from 0 to `end - 1`.
    fn below(random: &mut u64, end: usize) -> usize {
        (split_mix(random) % end as u64) as usize
    }

    /// Sends numbered messages of random sizes, some as frames, and sometimes waits for room. Returns early if the connection ends.
    async fn send_many(outbox: Arc<Outbox>, sender: usize, mut random: u64) {
        for number in 0..MESSAGES {
            let size = match below(&mut random, 20) {
                0 => 2 * SENDERS_WAIT_BYTES,
                _ => below(&mut random, 3000),
            };
            let message = format!("{sender} {number} {size} {}\n", "x".repeat(size)).into_bytes();
            match below(&mut random, 12) {
                0 => outbox.send_frame(message, sender as u64),
                _ => outbox.send(message),
            }
            match below(&mut random, 3) {
                0 if !outbox.wait_to_read().await => return,
                1 => tokio::task::yield_now().await,
                _ => {}
            }
        }
    }

    /// Returns how many messages of each sender a text contains, which must be its first ones, each whole; the last may be cut.
    fn received(bytes: &[u8]) -> [usize; SENDERS] {
        let mut numbers = [0; SENDERS];
        let text = String::from_utf8_lossy(bytes);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            let [sender, number, size] = [0, 1, 2].map(|part| parts[part].parse::<usize>().unwrap());
            assert_eq!((number, size), (numbers[sender], parts[3].len()), "of sender {sender}");
            numbers[sender] += 1;
        }
        numbers
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn messages_of_many_senders_arrive_whole_in_order_and_once_until_the_queue_is_abandoned() {
        for seed in 0..12 {
            let mut random = seed;
            let outbox = Arc::new(Outbox::default());
            let (mut client, server) = tokio::io::duplex(1 + below(&mut random, 1 << 16));
            let writer = tokio::spawn({
                let outbox = Arc::clone(&outbox);
                async move { outbox.write_to(server).await }
            });
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| tokio::spawn(send_many(Arc::clone(&outbox), sender, split_mix(&mut random))))
                .collect();
            // In half of the runs the queue is abandoned when so many bytes have been read.
            let most = if seed % 2 == 0 {
                usize::MAX
            } else {
                below(&mut random, 1 << 20)
            };
            let reader = tokio::spawn({
                let outbox = Arc::clone(&outbox);
                async move {
                    let mut bytes = Vec::new();
                    let mut buffer = vec![0; 1 << 16];
                    loop {
                        let size = 1 + below(&mut random, 1 << 16);
                        match client.read(&mut buffer[..size]).await.unwrap() {
                            0 => return bytes,
                            count => bytes.extend_from_slice(&buffer[..count]),
                        }
                        if bytes.len() > most {
                            outbox.abandon();
                        }
                    }
                }
            });
            let everything = async {
                for sender in senders {
                    sender.await.unwrap();
                }
                outbox.close();
                writer.await.unwrap().unwrap();
                outbox.ended().await;
                reader.await.unwrap()
            };
            let patience = Duration::from_secs(60);
            let bytes = tokio::time::timeout(patience, everything).await;
            let bytes =
                bytes.unwrap_or_else(|_| panic!("seed {seed}: a sender, the writer or the reader waits for ever"));
            let numbers = received(&bytes);
            if seed % 2 == 0 {
                assert_eq!(numbers, [MESSAGES; SENDERS], "seed {seed}");
            }
            outbox.send(b"later".to_vec());
            let queue = outbox.lock();
            assert_eq!((queue.messages.len(), queue.bytes), (0, 0), "seed {seed}");
        }
    }

    #[tokio::test]
    async fn frames_of_one_answer_are_written_apart_and_do_not_delay_other_answers() {
        let outbox = Arc::new(Outbox::default());
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let writer = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.write_to(server).await }
        });
        assert!(outbox.takes_frame(1));
        let sent = Instant::now();
        outbox.send_frame(b"one\n".to_vec(), 1);
        outbox.send_frame(b"two\n".to_vec(), 1);
        assert!(!outbox.takes_frame(1) && outbox.takes_frame(2));
        outbox.send_frame(b"other\n".to_vec(), 2);
        outbox.close();
        let mut read = String::new();
        client.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "one\ntwo\nother\n");
        assert!(sent.elapsed() >= FRAME_PAUSE, "the second frame comes later");
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_disconnected_at_the_limit() {
        let outbox = Arc::new(Outbox::default());
        let (_client, server) = tokio::io::duplex(16);
        let writer = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.write_to(server).await }
        });
        assert!(outbox.has_room());
        outbox.send(vec![b'x'; SENDERS_WAIT_BYTES]);
        assert!(!outbox.has_room());
        assert!(outbox.wait_to_read().await);
        for _ in 0..LIMIT_BYTES / SENDERS_WAIT_BYTES + 1 {
            outbox.send(vec![b'x'; SENDERS_WAIT_BYTES]);
        }
        assert!(outbox.is_closed());
        assert!(!outbox.wait_to_read().await);
        let _ = writer.await.unwrap();
    }

    #[tokio::test]
    async fn one_reply_larger_than_the_limit_is_delivered() {
        let outbox = Arc::new(Outbox::default());
        let (mut client, server) = tokio::io::duplex(1 << 16);
        outbox.send(vec![b'x'; LIMIT_BYTES + 1]);
        outbox.close();
        let writer = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.write_to(server).await }
        });
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), LIMIT_BYTES + 1);
        writer.await.unwrap().unwrap();
    }
}

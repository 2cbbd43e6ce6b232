//! Questions to STUN servers over one socket, all at once, sent again until they are answered or time is up.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::message::{self, Answer, Change, MessageError, Transaction};

/// When a question is sent, after its beginning: three times, as RFC 8489, 6.2.1 has it for the first of its seven, so that two
/// lost packets are no silence. Seven would take 39 s, in which a filter that lets nothing in can't be told.
const SENDS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1_500),
];

/// When silence is an answer: a second, the slowest round trip around the world, after the last.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Largest datagram looked at; answers have about a hundred bytes.
const MAX_DATAGRAM: usize = 1_280;

/// Where to ask, and from where the answer is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) to: SocketAddr,
    pub(super) change: Change,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum AskError {
    #[error("no answer within {} s", PATIENCE.as_secs_f32())]
    Silent,
    #[error("{0}")]
    Refused(MessageError),
    #[error("can't send to it: {0}")]
    Send(String),
}

struct Open {
    question: Question,
    transaction: Transaction,
    result: Result<Answer, AskError>,
}

impl Open {
    fn is_waiting(&self) -> bool {
        matches!(self.result, Err(AskError::Silent | AskError::Send(_)))
    }

    /// Whether an answer may come from there: with no change asked for, only from where the question went.
    fn may_come_from(&self, from: SocketAddr) -> bool {
        let question = self.question;
        match question.change {
            Change::NONE => from == question.to,
            change => {
                (from.ip() != question.to.ip()) == change.ip
                    && (from.port() != question.to.port()) == change.port
            }
        }
    }
}

/// Asks all of these, and gives what each has answered, in their order.
pub(super) async fn ask(
    socket: &UdpSocket,
    questions: &[Question],
) -> Vec<Result<Answer, AskError>> {
    let mut open: Vec<Open> = questions
        .iter()
        .map(|question| Open {
            question: *question,
            transaction: rand::random(),
            result: Err(AskError::Silent),
        })
        .collect();
    let start = Instant::now();
    let mut sends = SENDS.into_iter().peekable();
    let mut buffer = [0; MAX_DATAGRAM];
    while open.iter().any(Open::is_waiting) {
        let next = sends.peek().map(|after| start + *after);
        let received = tokio::select! {
            received = timeout_at(start + PATIENCE, socket.recv_from(&mut buffer)) => received,
            () = sleep_until(next.unwrap_or(start + PATIENCE)), if next.is_some() => {
                sends.next();
                send(socket, &mut open).await;
                continue;
            }
        };
        match received {
            Err(_) => break,
            Ok(Ok((length, from))) => {
                take(&mut open, buffer.get(..length).unwrap_or_default(), from);
            }
            // Of an earlier packet that could not be delivered: says nothing of the others.
            Ok(Err(error)) => tracing::trace!(%error, "a STUN socket"),
        }
    }
    open.into_iter().map(|open| open.result).collect()
}

async fn send(socket: &UdpSocket, open: &mut [Open]) {
    for open in open.iter_mut().filter(|open| open.is_waiting()) {
        let request = message::request(&open.transaction, open.question.change);
        let sent = socket.send_to(&request, open.question.to).await;
        open.result = Err(sent.map_or_else(
            |error: io::Error| AskError::Send(error.to_string()),
            |_| AskError::Silent,
        ));
    }
}

fn take(open: &mut [Open], bytes: &[u8], from: SocketAddr) {
    let Some(transaction) = message::transaction(bytes) else {
        return;
    };
    let answered = open
        .iter_mut()
        .find(|open| open.transaction == transaction && open.is_waiting());
    if let Some(open) = answered
        && open.may_come_from(from)
    {
        match message::read(bytes, &transaction) {
            Ok(answer) => open.result = Ok(answer),
            // Junk with the right name: the true answer may come still.
            Err(MessageError::NotStun | MessageError::OtherTransaction) => {}
            Err(error) => open.result = Err(AskError::Refused(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::answer;
    use super::*;

    async fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    fn plain(to: SocketAddr) -> Question {
        Question {
            to,
            change: Change::NONE,
        }
    }

    #[tokio::test]
    async fn a_lost_question_is_asked_again_and_junk_is_overlooked() {
        let (server, addr) = socket().await;
        let (ours, own) = socket().await;
        let serve = async {
            let mut buffer = [0; 100];
            let (length, _) = server.recv_from(&mut buffer).await.unwrap();
            let first = buffer[..length].to_vec();
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(first, buffer[..length], "the same question");
            server.send_to(b"junk", from).await.unwrap();
            server.send_to(&first[..20], from).await.unwrap();
            let answer = answer(&first, from, None);
            server.send_to(&answer, from).await.unwrap();
        };
        let questions = [plain(addr)];
        let ((), answers) = tokio::join!(serve, ask(&ours, &questions));
        assert_eq!(answers[0].as_ref().unwrap().mapped, own);
    }

    #[tokio::test]
    async fn an_answer_from_elsewhere_counts_only_where_that_was_asked_for() {
        let (server, addr) = socket().await;
        let (elsewhere, _) = socket().await;
        let (ours, own) = socket().await;
        let questions = [
            plain(addr),
            Question {
                to: addr,
                change: Change::PORT,
            },
            Question {
                to: addr,
                change: Change::BOTH,
            },
        ];
        let serve = async {
            let mut buffer = [0; 100];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&buffer[..length], from, None);
                elsewhere.send_to(&answer, from).await.unwrap();
            }
        };
        let answers = tokio::select! {
            () = serve => unreachable!(),
            answers = ask(&ours, &questions) => answers,
        };
        assert_eq!(answers[0], Err(AskError::Silent));
        assert_eq!(answers[1].as_ref().unwrap().mapped, own);
        assert_eq!(answers[2], Err(AskError::Silent), "the address is the same");
    }
}

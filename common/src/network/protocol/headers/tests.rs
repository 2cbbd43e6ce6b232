//! Cases of header synchronisation.

use bitcoin::hashes::Hash as _;

use super::*;
use HeaderAction::{Ask, PassedOver, Silent};

fn header(height: u32) -> Option<BlockRef> {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&height.to_le_bytes());
    Some(BlockRef {
        height,
        hash: BlockHash::from_byte_array(bytes),
    })
}

fn hash(height: u32) -> Option<BlockHash> {
    header(height).map(|h| h.hash)
}

fn outbound(peers: &[u32]) -> HeaderSync<u32> {
    let mut sync = HeaderSync::default();
    for peer in peers {
        sync.peer_joined(*peer, true);
    }
    sync
}

#[test]
fn one_peer_at_a_time_until_the_first_has_told_all() {
    let now = Instant::now();
    let mut sync = outbound(&[1, 2]);
    assert_eq!(sync.poll(now), [Ask(1, None)]);
    assert_eq!(sync.poll(now), []);
    assert!(sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000)));
    assert_eq!(
        sync.poll(now),
        [Ask(1, hash(2_000))],
        "a full message means that there is more, from its end on"
    );
    sync.on_answer(1, 7, header(2_007));
    assert_eq!(sync.poll(now), [Ask(2, None)]);
    assert!(!sync.all_told([1, 2].into_iter()));
    sync.on_answer(2, 0, None);
    assert!(sync.all_told([1, 2].into_iter()));
}

#[test]
fn a_silent_peer_is_passed_over_and_tried_again_when_alone() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    assert_eq!(sync.poll(now), [Ask(1, None)]);
    sync.peer_joined(2, true);
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(sync.poll(later), [PassedOver(1), Ask(2, None)]);
    sync.peer_left(2);
    assert_eq!(sync.poll(later), [Ask(1, None)]);
}

#[test]
fn a_peer_that_misses_twice_in_a_row_is_silent() {
    let mut now = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(now);
    now += ANSWER_TIMEOUT;
    assert_eq!(sync.poll(now), [PassedOver(1), Ask(1, None)]);
    sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000));
    sync.poll(now);
    now += ANSWER_TIMEOUT;
    assert_eq!(
        sync.poll(now)[0],
        PassedOver(1),
        "an answer wipes the slate"
    );
    now += ANSWER_TIMEOUT;
    assert_eq!(sync.poll(now)[0], Silent(1));
}

#[test]
fn a_peer_that_missed_is_asked_again_after_a_rest() {
    let now = Instant::now();
    let mut sync = outbound(&[1, 2]);
    sync.poll(now);
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(sync.poll(later), [PassedOver(1), Ask(2, None)]);
    sync.on_answer(2, 0, None);
    assert!(
        sync.all_told([1, 2].into_iter()),
        "the passed over are not waited for"
    );
    assert_eq!(sync.poll(later + REST - Duration::from_secs(1)), []);
    assert_eq!(sync.poll(later + REST), [Ask(1, None)]);
}

#[test]
fn a_crowd_of_silent_peers_does_not_hold_up_the_one_that_answers() {
    let start = Instant::now();
    let mut sync = outbound(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut asked_at = None;
    for second in 0..120 {
        let now = start + Duration::from_secs(second);
        if sync.poll(now).contains(&Ask(8, None)) {
            asked_at.get_or_insert(second);
        }
    }
    assert!(asked_at.is_some_and(|at| at <= 30), "{asked_at:?}");
}

#[test]
fn inbound_peers_neither_delay_outbound_ones_nor_end_the_first_pass() {
    let now = Instant::now();
    let mut sync = HeaderSync::default();
    for peer in 1..=3 {
        sync.peer_joined(peer, false);
    }
    sync.peer_joined(4, true);
    sync.peer_joined(5, true);
    assert_eq!(sync.poll(now), [Ask(4, None), Ask(1, None)]);
    sync.on_answer(1, 0, None);
    assert_eq!(sync.poll(now), [Ask(2, None)]);
    sync.on_answer(4, 0, None);
    assert_eq!(sync.poll(now), [Ask(5, None), Ask(3, None)]);
}

#[test]
fn what_was_not_asked_for_is_no_answer() {
    let now = Instant::now();
    let mut sync = outbound(&[1, 2]);
    sync.poll(now);
    assert!(!sync.on_answer(2, 0, None));
    assert_eq!(sync.poll(now), [], "the first pass goes on");
    assert!(!sync.all_told([1, 2].into_iter()));
    assert!(!sync.all_told([2].into_iter()));
}

#[test]
fn silence_is_not_knowledge() {
    let now = Instant::now();
    let mut sync = outbound(&[1, 2]);
    sync.poll(now);
    sync.on_unusable(1, now);
    sync.poll(now);
    sync.on_unusable(2, now);
    assert!(
        !sync.all_told([1, 2].into_iter()),
        "nobody has told anything"
    );
}

#[test]
fn a_round_goes_on_through_known_headers_as_long_as_it_rises() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    for height in [2_000, 4_000, 6_000] {
        sync.poll(now);
        sync.on_answer(1, HEADERS_PER_MESSAGE, header(height));
    }
    assert_eq!(sync.poll(now), [Ask(1, hash(6_000))]);
    sync.on_answer(1, HEADERS_PER_MESSAGE, header(6_000));
    assert_eq!(sync.poll(now), [], "the same headers again end the round");
    sync.peer_has_news(1);
    assert_eq!(sync.poll(now), [Ask(1, None)], "a new round starts anew");
}

#[test]
fn a_round_that_makes_no_headway_ends() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(now);
    sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000));
    assert_eq!(sync.poll(now), [Ask(1, hash(2_000))]);
    // Another chain, one header higher: that could go on for ever.
    sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_001));
    assert_eq!(sync.poll(now), []);
    assert!(sync.all_told([1].into_iter()));
}

#[test]
fn long_rounds_go_one_at_a_time_after_the_first_pass_too() {
    let now = Instant::now();
    let mut sync = outbound(&[1, 2, 3, 4]);
    sync.poll(now);
    sync.on_answer(1, 0, None);
    assert_eq!(sync.poll(now), [Ask(2, None), Ask(3, None), Ask(4, None)]);
    for peer in [2, 3] {
        sync.on_answer(peer, HEADERS_PER_MESSAGE, header(2_000));
    }
    assert_eq!(sync.poll(now), [Ask(2, hash(2_000))], "3 waits");
    sync.on_answer(4, 7, header(7));
    sync.check_began(2, now);
    assert_eq!(sync.poll(now), [], "its answer is being checked");
    sync.check_ended(2, now);
    sync.on_answer(2, 5, header(2_005));
    assert_eq!(sync.poll(now), [Ask(3, hash(2_000))]);
    sync.on_answer(3, 5, header(2_005));
    assert!(sync.all_told([1, 2, 3, 4].into_iter()));
}

#[test]
fn a_peer_that_feeds_us_slowly_does_not_keep_the_others_from_being_heard() {
    let start = Instant::now();
    let mut sync = outbound(&[1, 2, 3]);
    let mut asked = None;
    let mut height = 0;
    for second in 0..60 {
        let now = start + Duration::from_secs(second);
        for action in sync.poll(now) {
            match action {
                Ask(1, _) => {
                    height += 2_000;
                    sync.on_answer(1, HEADERS_PER_MESSAGE, header(height));
                }
                Ask(2, _) => {
                    asked.get_or_insert(second);
                    sync.on_answer(2, 0, None);
                }
                _ => {}
            }
        }
    }
    assert_eq!(asked, Some(ROUND_PATIENCE.as_secs()));
    sync.on_answer(3, 0, None);
    assert!(
        sync.all_told([2, 1].into_iter()),
        "its round is not waited for"
    );
}

#[test]
fn the_time_of_a_check_is_not_the_peers() {
    let start = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(start);
    let arrived = start + ANSWER_TIMEOUT - Duration::from_secs(1);
    sync.check_began(1, arrived);
    let late = arrived + 10 * ANSWER_TIMEOUT;
    assert_eq!(sync.poll(late), [], "our disk is slow, not the peer");
    // What arrived was an announcement; the answer is still to come.
    sync.check_ended(1, late);
    sync.peer_has_news(1);
    assert_eq!(sync.poll(late), []);
    let overdue = late + Duration::from_secs(1);
    assert_eq!(sync.poll(overdue)[0], PassedOver(1));
}

#[test]
fn the_next_question_waits_for_the_check() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(now);
    sync.on_answer(1, 0, None);
    // An announcement is being checked when it tells of something unknown as well.
    sync.check_began(1, now);
    sync.peer_has_news(1);
    assert_eq!(sync.poll(now), []);
    sync.check_ended(1, now);
    assert!(!sync.on_answer(1, 1, header(1)), "nobody had asked");
    assert_eq!(sync.poll(now), [Ask(1, None)]);
}

#[test]
fn what_was_dropped_unread_is_asked_for_again() {
    let now = Instant::now();
    let mut sync = outbound(&[1, 2]);
    sync.poll(now);
    sync.on_dropped(1, now);
    assert_eq!(sync.poll(now), [Ask(2, None)], "an answer after a rest");
    sync.on_answer(2, 0, None);
    sync.on_dropped(2, now);
    assert_eq!(sync.poll(now), [Ask(2, None)], "an announcement at once");
    sync.on_answer(2, 0, None);
    assert_eq!(sync.poll(now + REST), [Ask(1, None)]);
}

#[test]
fn a_time_out_ends_the_round() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(now);
    sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000));
    sync.poll(now);
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(sync.poll(later), [PassedOver(1), Ask(1, None)]);
}

#[test]
fn an_announcement_that_overtakes_the_answer_is_asked_about_after_it() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(now);
    sync.peer_has_news(1);
    assert_eq!(sync.poll(now), [], "the question stands");
    assert!(sync.on_answer(1, 5, header(5)));
    assert!(!sync.all_told([1].into_iter()));
    assert_eq!(sync.poll(now), [Ask(1, None)]);
    sync.on_answer(1, 1, header(6));
    assert!(sync.all_told([1].into_iter()));
}

#[test]
fn news_reopen_the_conversation() {
    let now = Instant::now();
    let mut sync = outbound(&[1]);
    sync.poll(now);
    sync.on_answer(1, 0, None);
    assert_eq!(sync.poll(now), []);
    sync.peer_has_news(1);
    assert_eq!(sync.poll(now), [Ask(1, None)]);
}

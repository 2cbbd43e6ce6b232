//! The rule by examples, by simulated draws, and by what must always hold.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index::sample;

use super::Standing::{Agrees, Alone, Disputed, Silent, Unclear};
use super::*;

/// An address in a netgroup of its own.
fn addr(n: u16) -> SocketAddr {
    let [a, b] = n.to_be_bytes();
    SocketAddr::from(([20 + a, b, 0, 1], 8333))
}

fn said(by: impl IntoIterator<Item = u16>) -> Answer {
    Answer {
        addresses: Some(by.into_iter().map(addr).collect()),
        witness: true,
        secure: false,
    }
}

fn signed(by: impl IntoIterator<Item = u16>) -> Answer {
    Answer {
        secure: true,
        ..said(by)
    }
}

fn silent() -> Answer {
    Answer {
        addresses: None,
        witness: true,
        secure: false,
    }
}

fn standings(answers: &[Answer]) -> Vec<Standing> {
    judge(answers).iter().map(|v| v.standing).collect()
}

#[test]
fn a_liar_stands_alone() {
    let answers = [said(1..5), said(2..6), said(90..94), silent()];
    let verdicts = judge(&answers);
    let expected = [Agrees, Agrees, Alone, Silent];
    assert_eq!(standings(&answers), expected);
    assert_eq!(verdicts[0].agrees_with, [1]);
    assert_eq!((verdicts[0].shared, verdicts[2].shared), (3, 0));
}

#[test]
fn one_word_against_another_says_nothing() {
    assert_eq!(standings(&[said(1..5), said(90..94)]), [Unclear; 2]);
    assert_eq!(standings(&[said(1..5)]), [Unclear]);
    assert!(standings(&[]).is_empty());
    let three = [said(1..9), said(20..29), said(40..49)];
    assert_eq!(standings(&three), [Unclear; 3]);
}

#[test]
fn the_seed_that_names_one_address_names_the_same_to_all() {
    assert_eq!(
        standings(&[said([1]), said([1]), said([2])]),
        [Agrees, Agrees, Alone]
    );
}

#[test]
fn an_overlap_that_may_be_chance_accuses_nobody() {
    let (a, b, c) = (said(0..24), said(23..47), said(60..84));
    assert_eq!(standings(&[a, b, c]), [Agrees, Agrees, Unclear]);
    let (a, b, c) = (said(0..24), said(12..36), said(60..84));
    assert_eq!(standings(&[a, b, c]), [Agrees, Agrees, Alone]);
}

#[test]
fn a_shared_netgroup_is_an_overlap() {
    let near: SocketAddr = "20.1.77.77:9000".parse().unwrap();
    let neighbour = Answer {
        addresses: Some([near].into()),
        witness: true,
        secure: false,
    };
    let answers = [said(1..5), said(1..5), neighbour];
    assert_eq!(standings(&answers), [Agrees; 3]);
    assert_eq!(judge(&answers)[2].shared, 0);
}

#[test]
fn two_camps_are_a_dispute() {
    let answers = [said(1..5), said(1..5), said(90..94), said(90..94)];
    assert_eq!(standings(&answers), [Disputed; 4]);
}

#[test]
fn liars_do_not_hide_each_other() {
    let answers = [said(1..5), said(1..5), said(90..122), said(200..203)];
    assert_eq!(standings(&answers), [Agrees, Agrees, Alone, Alone]);
}

#[test]
fn denial_is_an_answer_and_silence_is_none() {
    let answers = [said(1..5), said(1..5), said([])];
    assert_eq!(standings(&answers), [Agrees, Agrees, Alone]);
    let answers = [said([]), said([]), said(1..5)];
    assert_eq!(standings(&answers), [Agrees, Agrees, Alone]);
    let answers = [said(1..5), said(1..5), silent()];
    assert_eq!(standings(&answers), [Agrees, Agrees, Silent]);
}

#[test]
fn families_are_compared_apart() {
    let v6: SocketAddr = "[2a01:4f8::1]:8333".parse().unwrap();
    let only_v6 = Answer {
        addresses: Some([v6].into()),
        witness: true,
        secure: false,
    };
    let answers = [said(1..5), said(1..5), only_v6];
    assert_eq!(standings(&answers), [Agrees, Agrees, Unclear]);
}

#[test]
fn who_may_only_repeat_another_accuses_nobody() {
    let mut answers = [said(1..5), said(1..5), said(90..94)];
    answers[0].witness = false;
    assert_eq!(standings(&answers), [Agrees, Agrees, Unclear]);
    let mut answers = [said(90..94), said(1..5), said(1..5)];
    answers[0].witness = false;
    assert_eq!(
        standings(&answers),
        [Alone, Agrees, Agrees],
        "but can be accused"
    );
}

#[test]
fn who_lies_alike_does_not_outvote_what_the_zone_signed() {
    let lies = || said(90..94);
    let answers = [signed(1..5), lies(), lies(), lies()];
    let expected = [Unclear, Agrees, Agrees, Agrees];
    assert_eq!(standings(&answers), expected, "one word against others");
    let answers = [signed(1..5), signed(2..6), lies(), lies(), lies()];
    let expected = [Agrees, Agrees, Disputed, Disputed, Disputed];
    assert_eq!(standings(&answers), expected);
    let answers = [signed(1..5), said(2..6), lies(), lies()];
    let expected = [Agrees, Agrees, Disputed, Disputed];
    assert_eq!(standings(&answers), expected, "it needs but one of two");
    let answers = [said(1..5), said(2..6), signed(90..94), said(90..94)];
    assert_eq!(standings(&answers), [Disputed, Disputed, Agrees, Agrees]);
}

#[test]
fn what_the_zone_signed_counts_from_whoever_hands_it_on() {
    let mut answers = [signed(1..5), said(1..5), said(90..94)];
    answers[0].witness = false;
    assert_eq!(standings(&answers), [Agrees, Agrees, Alone]);
}

#[test]
fn honest_draws_are_rarely_suspected_and_a_liar_is_found() {
    let mut rng = StdRng::seed_from_u64(1);
    for (size, drawn) in [
        (10, 4),
        (24, 8),
        (48, 24),
        (64, 16),
        (200, 24),
        (1_000, 32),
        (3_000, 24),
    ] {
        let mut suspected = 0;
        for _ in 0..400 {
            let mut answers: Vec<_> = (0..4)
                .map(|_| said(sample(&mut rng, size, drawn).iter().map(|n| n as u16)))
                .collect();
            // As the system's resolver is among the providers.
            answers[0].witness = false;
            let honest = standings(&answers);
            suspected += usize::from(honest.iter().any(|s| s.is_suspect()));
            answers[3] = said((0..drawn).map(|n| 10_000 + n as u16));
            if size <= drawn * 2 {
                assert_eq!(standings(&answers)[3], Alone, "{drawn} of {size}");
            }
        }
        assert!(suspected <= 20, "{suspected} of 400 at {drawn} of {size}");
    }
}

fn any_answers() -> impl Strategy<Value = Vec<Answer>> {
    let addresses = proptest::option::of(btree_set((0_u16..40).prop_map(addr), 0..12));
    let answer = (addresses, any::<bool>(), any::<bool>());
    let answer = answer.prop_map(|(addresses, witness, secure)| Answer {
        addresses,
        witness,
        secure,
    });
    vec(answer, 0..7)
}

proptest! {
    #[test]
    fn the_order_does_not_matter(answers in any_answers(), by in 0_usize..7) {
        let mut rotated = answers.clone();
        let by = if answers.is_empty() { 0 } else { by % answers.len() };
        rotated.rotate_left(by);
        let mut expected = standings(&answers);
        expected.rotate_left(by);
        prop_assert_eq!(standings(&rotated), expected);
    }

    #[test]
    fn what_is_signed_is_never_suspect(answers in any_answers()) {
        for (answer, standing) in answers.iter().zip(standings(&answers)) {
            prop_assert!(!answer.secure || !standing.is_suspect());
        }
    }

    #[test]
    fn below_three_answers_nobody_is_suspect(mut answers in any_answers()) {
        let mut heard = 0;
        for answer in &mut answers {
            heard += usize::from(answer.addresses.is_some());
            if heard > 2 {
                answer.addresses = None;
            }
        }
        prop_assert!(standings(&answers).iter().all(|s| !s.is_suspect()));
    }

    #[test]
    fn a_common_address_makes_all_agree(mut answers in any_answers()) {
        for named in answers.iter_mut().filter_map(|a| a.addresses.as_mut()) {
            named.insert(addr(500));
        }
        let heard = answers.iter().filter(|a| a.addresses.is_some()).count();
        for (answer, standing) in answers.iter().zip(standings(&answers)) {
            let expected = match (&answer.addresses, heard) {
                (None, _) => Silent,
                (Some(_), 1) => Unclear,
                (Some(_), _) => Agrees,
            };
            prop_assert_eq!(standing, expected);
        }
    }

    #[test]
    fn agreement_is_mutual_and_standing_follows_from_it(answers in any_answers()) {
        let verdicts = judge(&answers);
        for (index, verdict) in verdicts.iter().enumerate() {
            for other in &verdict.agrees_with {
                prop_assert!(verdicts[*other].agrees_with.contains(&index));
            }
            let named = answers[index].addresses.as_ref().map_or(0, BTreeSet::len);
            prop_assert!(verdict.shared <= named);
            let overlaps = !verdict.agrees_with.is_empty();
            prop_assert_eq!(overlaps, matches!(verdict.standing, Agrees | Disputed));
            prop_assert_eq!(answers[index].addresses.is_none(), verdict.standing == Silent);
        }
    }

    #[test]
    fn it_is_a_chance(own in 0_usize..200, a in 1_usize..200, b in 1_usize..200, shared in 0_usize..200) {
        let chance = chance_to_miss(own, a, b, shared.min(a).min(b));
        prop_assert!((0.0..=1.0).contains(&chance), "{}", chance);
    }
}

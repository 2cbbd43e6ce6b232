//! Whole networks in one thread: the same as `labs simulate`, a run or two of each story. Where one ends badly the error has
//! its seed; `labs simulate NAME --seed N --runs 1` tells it again.

use labs::simulation::{Story, StoryOptions, run};
use serde_json::Value;

/// Tells a story, and gives its figures.
fn told(story: Story, seed: u64) -> Value {
    let options = StoryOptions {
        seed,
        runs: Some(1),
        json: true,
        quick: true,
    };
    match run(story, options) {
        Ok(report) => report.to_json(),
        Err(error) => panic!("{error:#}"),
    }
}

fn number(figures: &Value, key: &str) -> f64 {
    let figure = &figures[key];
    figure
        .as_f64()
        .unwrap_or_else(|| panic!("no {key} in {figures}"))
}

#[test]
fn nodes_that_come_and_go_are_neither_alone_nor_behind() {
    let figures = told(Story::Churn, 1);
    assert!(number(&figures, "starts") > 50.0, "{figures}");
    assert!(number(&figures, "longest_alone_s") <= 60.0, "{figures}");
    assert!(number(&figures, "share_full") > 0.9, "{figures}");
}

#[test]
fn halves_that_were_cut_apart_agree_within_a_minute() {
    let figures = told(Story::Partition, 1);
    assert!(number(&figures, "slowest_s") <= 60.0, "{figures}");
}

#[test]
fn who_surrounds_a_node_does_not_get_all_its_peers() {
    let figures = told(Story::Eclipse, 1);
    assert_eq!(number(&figures, "eclipsed"), 0.0, "{figures}");
    // He is there, and has most of the places that are given to those who dial.
    assert!(number(&figures, "attacker_inbound") > 0.5, "{figures}");
    assert!(number(&figures, "attacker_share") < 0.2, "{figures}");
}

#[test]
fn who_floods_a_node_pushes_out_himself() {
    let figures = told(Story::Sybil, 1);
    assert!(number(&figures, "evicted") > 100.0, "{figures}");
    assert_eq!(number(&figures, "kept"), 1.0, "{figures}");
    assert_eq!(number(&figures, "admitted"), 1.0, "{figures}");
    assert!(number(&figures, "stayed") >= 0.5, "{figures}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    assert_eq!(told(Story::Churn, 7), told(Story::Churn, 7));
    assert_ne!(told(Story::Churn, 7), told(Story::Churn, 8));
}

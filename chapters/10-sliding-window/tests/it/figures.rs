//! `images/10-sliding-window` is what the code draws now.

use std::path::Path;

#[test]
fn the_committed_figures_are_current() {
    let images =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/10-sliding-window");
    let figures = sliding_window::figures::all().unwrap();
    if let Err(stale) = figures::check_current(&images, &figures) {
        let said: Vec<_> = stale.iter().map(ToString::to_string).collect();
        panic!("{}", said.join("\n"));
    }
}

#[test]
fn any_head_can_be_looked_through_any_window() {
    for head in 0..9 {
        for (window, first) in [(1, 0), (1, 4), (4, 1), (13, 0), (40, 13)] {
            sliding_window::figures::sight_of(head, window, first).unwrap();
        }
    }
    assert!(sliding_window::figures::sight_of(9, 4, 0).is_err());
    assert!(sliding_window::figures::sight_of(0, 0, 0).is_err());
}

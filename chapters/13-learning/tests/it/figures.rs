//! `images/13-learning` is what the code draws now.

use std::path::Path;

#[test]
fn the_committed_figures_are_current() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/13-learning");
    let figures = learning::figures::all().unwrap();
    if let Err(stale) = figures::check_current(&images, &figures) {
        let said: Vec<_> = stale.iter().map(ToString::to_string).collect();
        panic!("{}", said.join("\n"));
    }
}

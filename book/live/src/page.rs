//! What a page calls, with numbers alone: it asks for room, writes a request and perhaps
//! weights into it, has them drawn, and reads the answer where it is told that it lies.

#![allow(unsafe_code, reason = "a name that is not mangled might clash; these do not")]

use crate::{Request, draw, draw_model};
use anyhow::Result;
use figures::Figure;
use std::cell::RefCell;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static ANSWER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Where to write `length` bytes.
#[unsafe(no_mangle)]
extern "C" fn live_room(length: usize) -> *mut u8 {
    ROOM.with_borrow_mut(|room| {
        room.clear();
        room.resize(length, 0);
        room.as_mut_ptr()
    })
}

/// Draws what stands in the room: a request of `length` bytes, as JSON, and after it the
/// weights. Gives the length of the answer: an SVG file, or a line about why not.
#[unsafe(no_mangle)]
extern "C" fn live_draw(length: usize) -> usize {
    answered(length, draw)
}

/// The same for a figure of the model that learned here, in a module of its own.
#[unsafe(no_mangle)]
extern "C" fn model_draw(length: usize) -> usize {
    answered(length, |request, _| draw_model(request))
}

fn answered(length: usize, draw: fn(&Request, &[u8]) -> Result<Figure>) -> usize {
    let answer = ROOM.with_borrow(|room| answer(room, length, draw));
    let length = answer.len();
    ANSWER.set(answer);
    length
}

/// Where the answer lies.
#[unsafe(no_mangle)]
extern "C" fn live_answer() -> *const u8 {
    ANSWER.with_borrow(|answer| answer.as_ptr())
}

fn answer(
    room: &[u8],
    length: usize,
    draw: fn(&Request, &[u8]) -> Result<Figure>,
) -> String {
    let Some((request, weights)) = room.split_at_checked(length) else {
        return "the request is longer than its room".to_owned();
    };
    let drawn = serde_json::from_slice::<Request>(request)
        .map_err(anyhow::Error::from)
        .and_then(|request| draw(&request, weights));
    match drawn {
        Ok(figure) => figure.svg().to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

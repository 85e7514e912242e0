//! What stands in `<main>` of a finished page, as XHTML that stands by itself.

use std::fmt::Write;

use anyhow::{Context, Result};
use scraper::{ElementRef, Html, Node, Selector, node::Element};

/// The text of one page.
pub(crate) struct Body {
    pub xhtml: String,
    /// Whether it holds formulas.
    pub mathml: bool,
    /// Whether it holds drawings.
    pub svg: bool,
    /// The id and the words of each second-level heading.
    pub sections: Vec<(String, String)>,
}

/// Takes the text out of a finished page.
///
/// # Errors
/// When the page has none.
pub(crate) fn body(page: &str) -> Result<Body> {
    let page = Html::parse_document(page);
    let select = |words: &str| Selector::parse(words).ok();
    let main = select("main").and_then(|main| page.select(&main).next());
    let main = main.context("a page without <main>")?;
    let mut xhtml = String::new();
    children(main, &mut xhtml);
    let sections = select("h2[id]")
        .iter()
        .flat_map(|heading| main.select(heading))
        .map(|heading| {
            let id = heading.attr("id").unwrap_or_default().to_owned();
            let words: String = heading.text().collect();
            (id, words.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect();
    Ok(Body {
        mathml: xhtml.contains("<math"),
        svg: xhtml.contains("<svg"),
        xhtml: xhtml.trim().to_owned(),
        sections,
    })
}

fn children(element: ElementRef, xhtml: &mut String) {
    for child in element.children() {
        match child.value() {
            Node::Text(text) => *xhtml += &escape(text),
            Node::Element(_) => {
                if let Some(child) = ElementRef::wrap(child) {
                    write_element(child, xhtml);
                }
            }
            _ => {}
        }
    }
}

fn write_element(element: ElementRef, xhtml: &mut String) {
    let value = element.value();
    let name = value.name();
    if is_left_out(element) {
        return;
    }
    // A heading that links to itself has no use for that on paper.
    if name == "a" && value.classes().any(|class| class == "header") {
        return children(element, xhtml);
    }
    // Few devices unfold: what a page folds until a reader says otherwise stands open.
    if is_fold(element) {
        *xhtml += "<div>";
        children(element, xhtml);
        *xhtml += "</div>";
        return;
    }
    *xhtml += &format!("<{name}");
    match name {
        "svg" => *xhtml += r#" xmlns="http://www.w3.org/2000/svg""#,
        "math" => *xhtml += r#" xmlns="http://www.w3.org/1998/Math/MathML""#,
        _ => {}
    }
    for (attribute, text) in attributes(value) {
        // Writing to a string cannot fail.
        let _ = write!(xhtml, r#" {attribute}="{}""#, escape_attribute(&text));
    }
    if element.children().next().is_none() && is_empty(name) {
        *xhtml += "/>";
        return;
    }
    xhtml.push('>');
    children(element, xhtml);
    *xhtml += &format!("</{name}>");
}

/// A doc comment, or what keeps an output.
fn is_fold(element: ElementRef) -> bool {
    element.value().name() == "details"
        && element.value().classes().any(|class| ["doc", "kept"].contains(&class))
}

/// Scripts, what only they give a use to, the numbers behind the figures, which are longer
/// than the text, and the handles of what does not fold.
fn is_left_out(element: ElementRef) -> bool {
    let value = element.value();
    let parent = element.parent().and_then(ElementRef::wrap);
    let is_data = || {
        value.name() == "details"
            && parent
                .is_some_and(|p| p.value().classes().any(|class| class == "figure"))
    };
    let is_handle = || value.name() == "summary" && parent.is_some_and(is_fold);
    ["script", "noscript", "button", "template", "input", "label", "style", "canvas"]
        .contains(&value.name())
        || value.attr("hidden").is_some()
        || is_data()
        || is_handle()
}

/// The attributes that mean something in an EPUB, with their values there.
fn attributes(element: &Element) -> Vec<(&str, String)> {
    let of_script = |name: &str| name.starts_with("data-") || name == "tabindex";
    // MathML Core has it, EPUB's does not.
    let of_later = |name: &str| name == "scriptlevel";
    let mut attributes: Vec<(&str, String)> = element
        .attrs()
        .filter(|(name, _)| !of_script(name) && !of_later(name) && *name != "xmlns")
        .map(|(name, value)| match name {
            "href" => (name, in_the_book(value)),
            "fill" | "stroke" => (name, crate::color::plain(value)),
            // EPUB's SVG is older than this, its CSS is not.
            "paint-order" => ("style", format!("paint-order: {value}")),
            _ => (name, value.to_owned()),
        })
        .collect();
    attributes.sort();
    attributes
}

/// Links between pages lead to the pages of the EPUB.
fn in_the_book(link: &str) -> String {
    let (file, anchor) = link.find('#').map_or((link, ""), |at| link.split_at(at));
    match file.strip_suffix(".html") {
        Some(file) if !file.contains(':') => format!("{file}.xhtml{anchor}"),
        _ => link.to_owned(),
    }
}

/// Elements that may be written as one tag; of the others some devices would take the rest
/// of the page for their content.
fn is_empty(name: &str) -> bool {
    [
        "br",
        "hr",
        "img",
        "col",
        "wbr",
        "path",
        "circle",
        "line",
        "rect",
        "ellipse",
        "polyline",
        "polygon",
        "use",
        "stop",
        "mspace",
        "mprescripts",
        "none",
    ]
    .contains(&name)
}

/// Text inside an element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text inside a quoted attribute.
pub(crate) fn escape_attribute(text: &str) -> String {
    escape(text).replace('"', "&quot;").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xhtml(main: &str) -> String {
        body(&format!("<body><main>{main}</main></body>")).unwrap().xhtml
    }

    #[test]
    fn text_is_well_formed_whatever_it_says() {
        let all = xhtml(
            "<p title='a \"b\" &amp; &lt;'>1 &lt; 2 &amp;&amp; 3<br>é</p><td></td>",
        );
        assert!(roxmltree::Document::parse(&format!("<x>{all}</x>")).is_ok(), "{all}");
        assert!(all.contains("1 &lt; 2 &amp;&amp; 3<br/>é"));
    }

    #[test]
    fn links_lead_to_pages_of_the_book() {
        assert_eq!(
            xhtml("<a href='02-b.html#c'>x</a>"),
            r#"<a href="02-b.xhtml#c">x</a>"#
        );
        let elsewhere = r#"<a href="https://example.org/a.html">x</a>"#;
        assert_eq!(xhtml(elsewhere), elsewhere);
    }

    #[test]
    fn what_needs_a_script_is_left_out() {
        assert_eq!(
            xhtml("<p data-symbol='1' tabindex='0'>a<button>b</button></p>"),
            "<p>a</p>"
        );
    }

    #[test]
    fn doc_comments_stand_open_and_answers_stay_folded() {
        let fold = |class: &str| {
            xhtml(&format!("<details class='{class}'><summary>a</summary>b</details>"))
        };
        assert_eq!(fold("doc"), "<div>b</div>");
        assert_eq!(fold("kept"), "<div>b</div>");
        assert_eq!(
            fold("rest"),
            r#"<details class="rest"><summary>a</summary>b</details>"#
        );
    }

    #[test]
    fn drawings_keep_their_names_and_get_their_colors() {
        let svg = "<svg viewBox='0 0 1 1'><path fill='var(--fig-ink, #1a1a1a)' d='M0 0'/></svg>";
        assert_eq!(
            xhtml(svg),
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0" fill="#1a1a1a"/></svg>"##
        );
    }
}

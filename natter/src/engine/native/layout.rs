//! How values of a type lie in a column of the Native format, read from the type's name.

/// Deeper types than anybody writes; the engine's own parser stops at some depth as well.
const DEPTH_MAX: usize = 100;

/// Which bytes a column of a type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// So many bytes each.
    Fixed(usize),
    /// A length each, then so many bytes.
    Text,
    /// A byte each that says whether it is null, then all values.
    Nullable(Box<Layout>),
    /// Where each list ends among all elements, then these.
    List(Box<Layout>),
    /// The columns one behind the other.
    Tuple(Vec<Layout>),
    /// The values that there are, then which of them each is.
    LowCardinality(Box<Layout>),
    /// Of which alternative each is, then the values of each alternative.
    Variant(Vec<Layout>),
    /// JSON as text, behind a version.
    Json,
}

impl Layout {
    /// The layout of the type of this name; `None` where values cannot be stepped over (states of aggregates, `Dynamic`).
    pub fn of(kind: &str) -> Option<Self> {
        Self::within(kind, 0)
    }

    fn within(kind: &str, depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        let kind = kind.trim();
        let (name, arguments) = match kind.split_once('(') {
            Some((name, rest)) => (name, split(rest.strip_suffix(')')?)),
            None => (kind, Vec::new()),
        };
        let inner = |index: usize| Self::within(arguments.get(index)?, depth + 1);
        let elements = || -> Option<Vec<Self>> {
            arguments.iter().map(|element| Self::within(unnamed(element), depth + 1)).collect()
        };
        let list = |of: Self| Self::List(Box::new(of));
        Some(match name {
            "String" => Self::Text,
            "JSON" => Self::Json,
            "FixedString" => Self::Fixed(arguments.first()?.parse().ok()?),
            "Decimal" => Self::Fixed(decimal(arguments.first()?.parse().ok()?)?),
            "Nullable" => Self::Nullable(Box::new(inner(0)?)),
            "Array" => list(inner(0)?),
            "Map" => list(Self::Tuple(vec![inner(0)?, inner(1)?])),
            "Nested" => list(Self::Tuple(elements()?)),
            // Without elements it is a byte each.
            "Tuple" if arguments.is_empty() => Self::Fixed(1),
            "Tuple" => Self::Tuple(elements()?),
            "Variant" => Self::Variant(elements()?),
            "SimpleAggregateFunction" => inner(1)?,
            // Nulls are a value like the others.
            "LowCardinality" => Self::LowCardinality(match inner(0)? {
                Self::Nullable(of) => of,
                of => Box::new(of),
            }),
            "Point" => Self::point(),
            "Ring" | "LineString" => list(Self::point()),
            "Polygon" | "MultiLineString" => list(list(Self::point())),
            "MultiPolygon" => list(list(list(Self::point()))),
            // By the names of its alternatives, which its own does not say.
            "Geometry" => {
                let names = ["LineString", "MultiLineString", "MultiPolygon", "Point", "Polygon", "Ring"];
                Self::Variant(names.iter().map(|name| Self::within(name, depth + 1)).collect::<Option<_>>()?)
            }
            _ => Self::Fixed(width(name)?),
        })
    }

    fn point() -> Self {
        Self::Tuple(vec![Self::Fixed(8), Self::Fixed(8)])
    }
}

/// Bytes of a value that always has as many.
fn width(name: &str) -> Option<usize> {
    Some(match name {
        "Int8" | "UInt8" | "Bool" | "Enum8" | "Nothing" => 1,
        "Int16" | "UInt16" | "BFloat16" | "Date" | "Enum16" => 2,
        "Int32" | "UInt32" | "Float32" | "Date32" | "DateTime" | "Time" | "IPv4" | "Decimal32" => 4,
        "Int64" | "UInt64" | "Float64" | "DateTime64" | "Time64" | "Decimal64" => 8,
        "Int128" | "UInt128" | "UUID" | "IPv6" | "Decimal128" => 16,
        "Int256" | "UInt256" | "Decimal256" => 32,
        _ if name.starts_with("Interval") => 8,
        _ => return None,
    })
}

fn decimal(digits: u32) -> Option<usize> {
    match digits {
        1..=9 => Some(4),
        10..=18 => Some(8),
        19..=38 => Some(16),
        39..=76 => Some(32),
        _ => None,
    }
}

/// The arguments of a type: at commas that stand in no brackets and no quotes.
fn split(arguments: &str) -> Vec<&str> {
    let mut ends: Vec<usize> = places(arguments, b',').collect();
    ends.push(arguments.len());
    let mut begin = 0;
    let parts = ends.into_iter().map(|end| {
        let part = arguments[begin..end].trim();
        begin = end + 1;
        part
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// An element's type without the name in front of it.
fn unnamed(element: &str) -> &str {
    places(element, b' ').next().map_or(element, |blank| &element[blank + 1..])
}

/// Where a byte stands in no brackets and no quotes.
fn places(text: &str, wanted: u8) -> impl Iterator<Item = usize> {
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    text.bytes().enumerate().filter_map(move |(at, byte)| {
        if is_escaped {
            is_escaped = false;
            return None;
        }
        match (quote, byte) {
            (Some(_), b'\\') => is_escaped = true,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'`' | b'"') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, _) => return (byte == wanted && depth == 0).then_some(at),
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::Layout::{Fixed, Json, List, LowCardinality, Nullable, Text, Tuple, Variant};
    use super::*;

    #[test]
    fn types_have_the_layout_of_their_values() {
        let boxed = |layout: &Layout| Box::new(layout.clone());
        for (kind, layout) in [
            ("UInt64", Fixed(8)),
            ("DateTime64(3, 'UTC')", Fixed(8)),
            ("Enum8('a, (b' = 1, 'it\\'s' = 2)", Fixed(1)),
            ("Decimal(18, 4)", Fixed(8)),
            ("Decimal(19, 4)", Fixed(16)),
            ("FixedString(12)", Fixed(12)),
            ("IntervalDay", Fixed(8)),
            ("JSON(max_dynamic_paths=8, a UInt8)", Json),
            ("Nullable(Nothing)", Nullable(boxed(&Fixed(1)))),
            ("LowCardinality(Nullable(String))", LowCardinality(boxed(&Text))),
            ("Map(LowCardinality(String), Array(UInt8))", {
                List(boxed(&Tuple(vec![LowCardinality(boxed(&Text)), List(boxed(&Fixed(1)))])))
            }),
            ("Tuple()", Fixed(1)),
            ("Tuple(a UInt8, `b (c` Array(String), Nullable(Date))", {
                Tuple(vec![Fixed(1), List(boxed(&Text)), Nullable(boxed(&Fixed(2)))])
            }),
            ("Nested(a UInt8, b String)", List(boxed(&Tuple(vec![Fixed(1), Text])))),
            ("Variant(Array(UInt8), String)", Variant(vec![List(boxed(&Fixed(1))), Text])),
            ("SimpleAggregateFunction(sum, UInt64)", Fixed(8)),
            ("Ring", List(boxed(&Tuple(vec![Fixed(8), Fixed(8)])))),
        ] {
            assert_eq!(Layout::of(kind), Some(layout), "{kind}");
        }
    }

    #[test]
    fn types_that_are_not_known_have_none() {
        let deep = format!("{}UInt8{}", "Array(".repeat(200), ")".repeat(200));
        for kind in
            ["Dynamic", "AggregateFunction(sum, UInt8)", "Array(Dynamic)", "Array(", "Decimal(99, 1)", "", &deep]
        {
            assert_eq!(Layout::of(kind), None, "{kind}");
        }
    }
}

//! What a process says of itself at `/metrics`.

use anyhow::{Context, ensure};
use metrics_exporter_prometheus::PrometheusHandle;

use super::http::Http;

/// Metrics of one moment, of all processes that were asked.
#[derive(Debug, Clone, Default)]
pub struct Scrape(String);

/// Where metrics come from.
#[derive(Clone)]
pub enum Source {
    /// Processes that serve them here; none: nobody said where.
    Addresses(Vec<String>),
    /// This process.
    Own(PrometheusHandle),
}

impl Source {
    /// The metrics of this moment.
    ///
    /// # Errors
    /// A process does not answer.
    pub async fn now(&self) -> anyhow::Result<Scrape> {
        let addresses = match self {
            Self::Addresses(addresses) => addresses,
            Self::Own(handle) => return Ok(Scrape::rendered(handle.render())),
        };
        let (http, mut all) = (Http::new(None), String::new());
        for address in addresses {
            let (status, body) = http.get(address).await.with_context(|| format!("cannot read {address}"))?;
            ensure!(status == 200, "{address} answers {status}");
            all.push_str(&String::from_utf8_lossy(&body));
        }
        Ok(Scrape::rendered(all))
    }
}

impl Scrape {
    /// Metrics in Prometheus' text.
    pub const fn rendered(text: String) -> Self {
        Self(text)
    }

    /// The sum of a metric over all its labels that contain these.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        // `sum` of nothing is -0, and would be shown so.
        self.values(name, labels).fold(0.0, std::ops::Add::add)
    }

    /// How much a counter has grown since `before`.
    pub fn grown(&self, before: &Self, name: &str, labels: &[&str]) -> f64 {
        self.sum(name, labels) - before.sum(name, labels)
    }

    fn values<'s>(&'s self, name: &'s str, wanted: &'s [&'s str]) -> impl Iterator<Item = f64> + 's {
        self.0.lines().filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            (is_it && wanted.iter().all(|label| labels.contains(label))).then(|| value.parse().ok()).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_name_and_label() {
        let text = "# HELP a b\na{view=\"redis\",partition=\"0\"} 2\na{view=\"redis\",partition=\"1\"} 5\na{view=\"clickhouse\"} 1\nab 9\nc 4\n";
        let scrape = Scrape::rendered(text.to_owned());
        let sums =
            [scrape.sum("a", &["view=\"redis\""]), scrape.sum("a", &[]), scrape.sum("c", &[]), scrape.sum("none", &[])];
        assert_eq!(sums.map(|sum| sum.to_string()), ["7", "8", "4", "0"]);
        assert_eq!(scrape.sum("a", &["view=\"redis\"", "partition=\"1\""]).to_string(), "5");
        assert_eq!(scrape.grown(&Scrape::rendered("c 1".into()), "c", &[]).to_string(), "3");
    }
}

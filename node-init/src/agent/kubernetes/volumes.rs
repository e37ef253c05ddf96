//! Volumes of pods on the replicated storage that are in use on this node. As long as one is, DRBD is held open and this
//! node cannot hand over, even when the storage itself is unmounted.

use crate::member::Place;

/// Where the kubelet mounts what pods use.
const PODS: &str = "/var/lib/kubelet/pods/";
/// Local volumes, and parts of volumes.
const KINDS: [&str; 2] = ["/volumes/kubernetes.io~local-volume/", "/volume-subpaths/"];

/// Where volumes are mounted for pods, in the order in which they were.
#[must_use]
pub fn mounted(place: &Place) -> Vec<String> {
    std::fs::read_to_string(place.path("/proc/self/mountinfo")).map_or_else(|_| Vec::new(), |text| of(&text))
}

/// Pure: from the kernel's list (proc_pid_mountinfo(5)). Its fifth field is the place; those of the kubelet have no letters
/// that would be escaped.
fn of(mountinfo: &str) -> Vec<String> {
    let places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let volume = |place: &&str| place.starts_with(PODS) && KINDS.iter().any(|kind| place.contains(kind));
    places.filter(volume).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_volumes_of_pods_are_found() {
        let pod = "/var/lib/kubelet/pods/0f3c";
        let list = format!(
            "36 35 147:0 / /var/lib/pair rw,noatime shared:1 - ext4 /dev/drbd0 rw\n\
             40 35 147:0 /volumes/shop {pod}/volumes/kubernetes.io~local-volume/shop rw shared:1 - ext4 /dev/drbd0 rw\n\
             41 35 0:52 / {pod}/volumes/kubernetes.io~projected/token rw shared:9 - tmpfs tmpfs rw\n\
             42 35 147:0 /volumes/shop/x {pod}/volume-subpaths/shop/c/0 rw shared:1 - ext4 /dev/drbd0 rw\n\
             broken\n"
        );
        let found = of(&list);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with("local-volume/shop") && found[1].ends_with("/shop/c/0"));
        assert!(of("").is_empty());
    }
}

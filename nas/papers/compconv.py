"""Tables 1 to 9 of *CompConv* (Zhang et al., CVPRW 2021).

FLOPs as they fit the paper: fvcore in eval mode, where BatchNorm costs 2 an element. Of VGG-16 the first convolution
stays vanilla and C_prim is rounded up to an even number, of which the text says nothing; d = 4 alone fits Eq. 5 as it
is.
"""

from collections.abc import Callable

from search_spaces import Backbone, Choice, Slot
from search_spaces.operators.compconv import adaptive_depth

from .row import Choose, Network, Printed, Row, but_shortcuts, every, vanilla

VGG16 = Backbone("vgg16", 10, 32)
RESNET18 = Backbone("resnet18_cifar", 100, 32)
RESNET50_CIFAR = Backbone("resnet50_cifar", 100, 32)
RESNET50 = Backbone("resnet50", 1000, 224)
GHOST = Choice.of("ghost", ratio=2)


def compconv(depth: int, even: bool = True, stages: tuple[str, ...] = ("",)) -> Choose:
    """CompConv of one depth at every convolution of the ``stages`` but the first, shallower where it does not fit."""
    chosen = every(Choice.of("compconv", depth=depth, **({"even": True} if even else {})))
    return lambda slot: chosen(slot) if slot.name.startswith(stages) else None


def adaptive(c0: int, channels: Callable[[Slot], int], **options: str | bool) -> Choose:
    """CompConv by Eq. 6, at every convolution but the first; ``channels`` is what stands for C_in."""
    return lambda slot: every(Choice.of("compconv", depth=adaptive_depth(channels(slot), c0), **options))(slot)


def arriving(slot: Slot) -> int:
    """C_in, as Eq. 6 says."""
    return slot.in_channels


def narrow(slot: Slot) -> int:
    """The smaller of a convolution's channel counts: in a bottleneck, its width."""
    return min(slot.in_channels, slot.out_channels)


def entering(slot: Slot) -> int:
    """The channels that enter a basic block, for both of its convolutions."""
    stride = 2 if slot.name.endswith("0.conv2") and not slot.name.startswith("layer1") else 1
    return slot.in_channels // stride


SSAD = adaptive(128, arriving, even=True)


def rows() -> list[Row]:
    """In the paper's order."""
    return [*_ablations(), *_table_5(), *_table_6(), *_table_7(), *_table_8(), *_table_9()]


def _vgg(
    slug: str,
    table: int,
    model: str,
    printed: Printed,
    choose: Choose | None,
    note: str = "",
    tolerance: float = 0.02,
) -> Row:
    network, source = Network(VGG16, choose) if choose else None, f"CompConv, Table {table}"
    recipe = "compconv_cifar10" if choose else ""
    return Row(f"compconv-t{table}-{slug}", source, model, *printed, network, note, tolerance, recipe)


def _ablations() -> list[Row]:
    """Tables 1 to 4, all VGG-16."""
    unshuffled, adapted = adaptive(128, arriving, even=True, shuffle=False), SSAD
    found = [
        _vgg("unshuffled", 1, "without shuffle", ("3.3M", "107M", "92.8"), unshuffled),
        _vgg("ours", 1, "Comp-VGG16", ("3.3M", "107M", "93.8"), adapted),
    ]
    for identity, params, flops, accuracy in (
        ("group", "3.3M", "107M", "93.7"),
        ("random", "3.3M", "107M", "92.7"),
        ("conv", "3.6M", "112M", "93.8"),
        ("fixed", "3.3M", "107M", "93.8"),
    ):
        choose = adaptive(128, arriving, even=True, identity=identity)
        found.append(_vgg(identity, 2, f"identity {identity}", (params, flops, accuracy), choose))
    found.append(_vgg("d0", 3, "VGG-16", ("14.7M", "314M", "94.1"), vanilla))
    depths = ((1, "7.4M", "158M", "93.0"), (2, "4.3M", "100M", "92.7"), (3, "2.9M", "73M", "92.6"))
    found += [_vgg(f"d{d}", 3, f"d = {d}", (p, f, acc), compconv(d)) for d, p, f, acc in depths]
    found.append(_vgg("d4", 3, "d = 4", ("2.2M", "56M", "92.0"), compconv(4, even=False), "depth_4"))
    found.append(_vgg("ssad", 3, "adaptive depth", ("3.3M", "107M", "93.8"), adapted))
    found.append(_vgg("d0", 4, "VGG-16", ("14.7M", "314M", "94.1"), vanilla))
    first = ((1, "14.7M", "295M", "93.8"), (2, "14.7M", "289M", "93.1"), (3, "14.7M", "287M", "93.1"))
    found += [
        _vgg(f"1s-d{d}", 4, f"stage 1, d = {d}", (p, f, a), compconv(d, stages=("stage1",))) for d, p, f, a in first
    ]
    last = ((1, "8.2M", "253M", "93.8"), (2, "5.5M", "228M", "93.7"), (3, "4.3M", "216M", "93.6"))
    deep = ("stage4", "stage5")
    found += [
        _vgg(f"5s-d{d}", 4, f"stage 5, d = {d}", (p, f, a), compconv(d, stages=deep), "stage_5") for d, p, f, a in last
    ]
    return found


def _table_5() -> list[Row]:
    return [
        _vgg("vgg16", 5, "VGG-16", ("15M", "314M", "94.1"), vanilla),
        _vgg("l1", 5, "L1 pruning", ("5.4M", "206M", "93.4"), None),
        _vgg("sss", 5, "SSS pruning", ("3.9M", "183M", "93.0"), None),
        _vgg("ghost", 5, "Ghost", ("7.7M", "158M", "93.7"), every(GHOST), "ghost_vgg16", 0.03),
        _vgg("hrank", 5, "HRank pruning", ("2.5M", "146M", "93.4"), None),
        _vgg("sbp", 5, "SBP pruning", (None, "136M", "92.5"), None),
        _vgg("comp", 5, "Comp-VGG16", ("3.3M", "107M", "93.8"), SSAD),
    ]


def _table_6() -> list[Row]:
    binary, ghost = Choice.of("vanilla", binary=True), Choice.of("ghost", ratio=2, binary=True)
    comp = adaptive(128, arriving, even=True, binary=True)
    return [
        _vgg("vgg16", 6, "binary VGG-16", ("1.3M", "22.4M", "83.8"), every(binary), "binary"),
        _vgg("ghost", 6, "binary Ghost", ("0.9M", "11.6M", "79.1"), every(ghost), "binary", 0.03),
        _vgg("comp", 6, "binary Comp", ("0.3M", "6.6M", "80.0"), comp, "binary"),
    ]


def _table_7() -> list[Row]:
    ghost = but_shortcuts(every(GHOST))
    comp18, comp50 = but_shortcuts(adaptive(128, entering)), but_shortcuts(adaptive(128, arriving))
    return [
        Row(f"compconv-t7-{slug}", "CompConv, Table 7", model, p, f, a, Network(backbone, choose), note, 0.03, recipe)
        for slug, model, p, f, a, backbone, choose, note, recipe in (
            ("res18", "ResNet-18", "11.2M", "0.6G", "76.4", RESNET18, vanilla, "", "compconv_cifar100"),
            ("ghost18", "Ghost", "5.7M", "0.3G", "72.3", RESNET18, ghost, "ghost_reading", "compconv_cifar100"),
            ("comp18", "Comp", "3.3M", "0.2G", "73.1", RESNET18, comp18, "resnet18_reading", "compconv_cifar100"),
            ("res50", "ResNet-50", "23.7M", "1.3G", "77.4", RESNET50_CIFAR, vanilla, "", "compconv_cifar100"),
            ("ghost50", "Ghost", "13.5M", "0.7G", "74.6", RESNET50_CIFAR, ghost, "ghost_reading", "compconv_cifar100"),
            (
                "comp50",
                "Comp",
                "12.2M",
                "0.5G",
                "75.5",
                RESNET50_CIFAR,
                comp50,
                "resnet50_cifar_reading",
                "compconv_cifar100",
            ),
        )
    ]


def _table_8() -> list[Row]:
    def row(
        slug: str,
        model: str,
        params: str | None,
        flops: str,
        accuracy: str | None,
        choose: Choose | None = None,
        note: str = "",
    ) -> Row:
        network, recipe = Network(RESNET50, choose) if choose else None, "compconv_imagenet" if choose else ""
        name, source = f"compconv-t8-{slug}", "CompConv, Table 8"
        return Row(name, source, model, params, flops, accuracy, network, note, 0.03, recipe)

    return [
        row("res50", "ResNet-50", "25.6M", "4.1G", "76.1", vanilla),
        row("versatile", "Versatile filters", "11.0M", "3.0G", "74.5"),
        row("sss", "SSS-32 pruning", "18.6M", "2.8G", "74.2"),
        row("thinet", "ThiNet pruning", "16.9M", "2.6G", "72.1"),
        row("comp512", "Comp512", "15.3M", "2.4G", "75.8", but_shortcuts(adaptive(512, narrow)), "resnet50_reading"),
        row("hrank", "HRank pruning", "16.2M", "2.3G", "75.0"),
        row("nisp", "NISP pruning", "14.4M", "2.3G", None),
        row("ghost", "Ghost s=2", "13.0M", "2.2G", "75.0", every(GHOST), "ghost_resnet50_again"),
        row("comp256", "Comp256", "13.7M", "2.1G", "75.2", but_shortcuts(adaptive(256, narrow)), "comp256"),
        row("gdp", "GDP-0.6 pruning", None, "1.9G", "71.2"),
        row("gal", "GAL pruning", "19.3M", "1.8G", "71.8"),
        row("abc", "ABC pruning", "11.2M", "1.8G", "73.5"),
        row("hrank2", "HRank pruning", "13.8M", "1.6G", "72.0"),
        row("comp128", "Comp128", "8.7M", "1.6G", "73.7", adaptive(128, narrow), "comp128"),
    ]


def _table_9() -> list[Row]:
    comp512, comp128 = but_shortcuts(adaptive(512, narrow)), but_shortcuts(adaptive(128, narrow))
    return [
        Row(
            f"compconv-t9-{slug}",
            "CompConv, Table 9",
            f"Faster R-CNN, {model}",
            params,
            flops,
            accuracy,
            Network(RESNET50, choose, part="detector", detector="faster_rcnn"),
            note,
            recipe="compconv_coco",
        )
        for slug, model, params, flops, accuracy, choose, note in (
            ("res50", "ResNet-50", "41.5M", "207.1G", "37.4", vanilla, "detector_size"),
            ("comp512", "Comp512", "31.5M", "176.3G", "37.2", comp512, "comp512_detector"),
            ("comp128", "Comp128", "30.1M", "160.8G", "36.6", comp128, "comp128_detector"),
        )
    ]

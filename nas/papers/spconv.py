"""Tables 1 to 4 of *Split to Be Slim* (Zhang et al., IJCAI 2020).

FLOPs as the authors seem to have counted: fvcore in training mode, where BatchNorm costs 5 an element.
"""

from search_spaces import Backbone, Choice

from .row import Choose, Detector, Network, Printed, Row, every, every_3x3, vanilla

RESNET20 = Backbone("resnet20", 10, 32)
VGG16 = Backbone("vgg16_two_fc", 10, 32)
RESNET50 = Backbone("resnet50", 1000, 224)


def spconv(alpha: float, **options: str | bool) -> Choose:
    """SPConv at every 3×3 convolution but the first, with the papers' g = 2."""
    return every_3x3(Choice.of("spconv", alpha=alpha, groups=2, **options))


def octave_stages(alpha: float) -> Choose:
    """OctConv from the first stage up to the last, which it enters without low frequencies, as its authors' code."""
    first, last = ("layer1.0.conv1", "layer1.0.downsample.0"), ("layer4.0.conv1", "layer4.0.downsample.0")
    return lambda slot: (
        None
        if slot.name == "conv1" or (slot.name.startswith("layer4") and slot.name not in last)
        else Choice.of("octconv", alpha=alpha, **({"alpha_in": 0} if slot.name in first else {}))
        if slot.name not in last
        else Choice.of("octconv", alpha=alpha, alpha_out=0)
    )


def rows() -> list[Row]:
    """In the papers' order."""
    return [*_table_1(), *_table_2(), *_table_3(), *_table_4()]


def _table_1() -> list[Row]:
    source, resnet, vgg = "SPConv, Table 1", "resnet20_cifar10", "spconv_cifar10"

    def small(slug: str, model: str, printed: Printed, choose: Choose, note: str = "") -> Row:
        network = Network(RESNET20, choose, train_mode=True)
        return Row(f"spconv-t1-resnet20{slug}", source, model, *printed, network, note, recipe=resnet)

    def big(slug: str, model: str, printed: Printed, choose: Choose, note: str = "", tolerance: float = 0.01) -> Row:
        network = Network(VGG16, choose, train_mode=True)
        return Row(f"spconv-t1-vgg16{slug}", source, model, *printed, network, note, tolerance, vgg)

    ghost, het4, het8 = (Choice.of("ghost", ratio=2), Choice.of("hetconv", p=4), Choice.of("hetconv", p=8))
    return [
        small("", "ResNet-20", ("0.27M", "41.62M", "92"), vanilla),
        small("-a2", "SPConv α=1/2", ("0.10M", "17.91M", "92.23"), spconv(1 / 2)),
        small("-a4", "SPConv α=1/4", ("0.071M", "12.89M", "91.15"), spconv(1 / 4), "resnet20_params_a4"),
        big("", "VGG-16", ("16.62M", "349.51M", "94.00"), vanilla, "vgg_baseline"),
        big("-ghost", "Ghost s=2", ("7.7M", "158M", "93.70"), every_3x3(ghost), tolerance=0.03),
        big("-a2", "SPConv α=1/2", ("5.6M", "118.27M", "94.40"), spconv(1 / 2)),
        big("-het4", "HetConv P=4", ("5.17M", "105.98M", "93.92"), every_3x3(het4), tolerance=0.03),
        big("-a4", "SPConv α=1/4", ("3.77M", "79.34M", "93.94"), spconv(1 / 4)),
        big("-het8", "HetConv P=8", ("3.54M", "76.89M", "93.86"), every_3x3(het8), "hetconv_8", 0.03),
        big("-a8", "SPConv α=1/8", ("2.85M", "59.87M", "93.77"), spconv(1 / 8)),
        big("-a16", "SPConv α=1/16", ("2.39M", "55.14M", "93.43"), spconv(1 / 16), "vgg_sixteenth"),
    ]


def _table_2() -> list[Row]:
    def row(slug: str, model: str, printed: Printed, choose: Choose, note: str = "", tolerance: float = 0.01) -> Row:
        network, name = Network(RESNET50, choose, train_mode=True), f"spconv-t2-resnet50{slug}"
        source, recipe = "SPConv, Table 2", "spconv_imagenet"
        return Row(name, source, model, *printed, network, note, tolerance, recipe)

    ghost, het = every(Choice.of("ghost", ratio=2)), every_3x3(Choice.of("hetconv", p=4))
    return [
        row("", "ResNet-50", ("25.56M", "4.14G", "75.91"), vanilla),
        row("-a2", "SPConv α=1/2", ("18.34M", "2.97G", "76.26"), spconv(1 / 2)),
        row("-het4", "HetConv P=4", (None, "2.85G", "76.16"), het, tolerance=0.03),
        row("-a4", "SPConv α=1/4", ("16.93M", "2.74G", "75.95"), spconv(1 / 4)),
        row("-a8", "SPConv α=1/8", ("16.22M", "2.62G", "75.40"), spconv(1 / 8)),
        row("-oct", "OctConv α=0.5", ("25.56M", "2.40G", "76.40"), octave_stages(1 / 2), "octconv_resnet50", 0.03),
        row("-ghost", "Ghost s=2", ("13.0M", "2.20G", "75"), ghost, "ghost_resnet50", 0.03),
    ]


def _table_3() -> list[Row]:
    """The backbone's figures, which the table prints: ResNet-50 without its classifier, at 224 pixels."""
    found = []
    detectors: tuple[tuple[str, Detector, str, str], ...] = (
        ("frcnn", "faster_rcnn", "36.3", "36.4"),
        ("retina", "retinanet", "35.6", "35.9"),
    )
    for slug, detector, plain, slim in detectors:
        for part, model, params, flops, accuracy, choose in (
            ("", "ResNet-50", "23.51M", "4.13G", plain, vanilla),
            ("-a2", "SPConv α=1/2", "16.29M", "2.96G", slim, spconv(1 / 2)),
        ):
            network = Network(RESNET50, choose, train_mode=True, part="body", detector=detector)
            name, source, title = f"spconv-t3-{slug}{part}", "SPConv, Table 3", f"{model} in {detector}"
            found.append(Row(name, source, title, params, flops, accuracy, network, recipe="spconv_coco"))
    return found


def _table_4() -> list[Row]:
    found = []
    alone = spconv(1 / 2, redundant=False)
    for slug, model, params, flops, accuracy, choose, said in (
        ("all", "SPConv α=1/2", "0.10M", "17.91M", "92.23", spconv(1 / 2), ""),
        ("gwc-pwc", "GWC, then PWC", "0.12M", "20.38M", "91.84", spconv(1 / 2, heavy="gwc-pwc"), ""),
        ("vanilla", "vanilla 3×3", "0.15M", "25.70M", "92.27", spconv(1 / 2, heavy="vanilla"), ""),
        ("sum", "summed", "0.10M", "17.56M", "91.51", spconv(1 / 2, fusion="sum"), ""),
        ("no-redundant", "no redundant part", "0.088M", "14.47M", "89.43", alone, "resnet20_params_no_redundant"),
    ):
        network, name = Network(RESNET20, choose, train_mode=True), f"spconv-t4-{slug}"
        source, recipe = "SPConv, Table 4", "resnet20_cifar10"
        found.append(Row(name, source, model, params, flops, accuracy, network, said, recipe=recipe))
    return found

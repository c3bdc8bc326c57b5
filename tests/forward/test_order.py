import random

from firempo_plugin.forward.order import GroupByImage, arrange


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


def laid(groups, batch_size):
    return list(arrange([(image, list(rows)) for image, rows in groups], batch_size))


def test_groups_stay_whole_and_small_ones_fill_the_end_of_a_batch():
    assert laid([("a", [1, 2, 3]), ("b", [4, 5]), ("c", [6]), ("d", [7, 8])], 4) == [1, 2, 3, 6, 4, 5, 7, 8]


def test_two_groups_of_one_image_keep_apart():
    assert laid([("a", [1, 2]), ("a", [3, 4]), ("b", [5, 6]), ("b", [7, 8])], 4) == [1, 2, 5, 6, 3, 4, 7, 8]


def test_a_group_is_torn_where_nothing_else_fits():
    assert laid([("a", [1, 2, 3]), ("b", [4, 5, 6])], 4) == [1, 2, 3, 4, 5, 6]


def test_of_one_image_alone_nothing_is_lost():
    assert laid([("a", [1, 2]), ("a", [3, 4]), ("a", [5])], 4) == [1, 2, 3, 4, 5]


def test_every_row_comes_once_and_few_groups_are_torn():
    draw = random.Random(1)
    for _ in range(20):
        images = [draw.randrange(40) for _ in range(200)]
        order = list(GroupByImage(images, together=3, batch_size=8, seed=draw.randrange(99)))
        assert sorted(order) == list(range(200))
        met = sum(len(batch) - len({images[row] for row in batch}) for batch in batches(order, 8))
        shuffled = draw.sample(range(200), 200)
        by_chance = sum(len(batch) - len({images[row] for row in batch}) for batch in batches(shuffled, 8))
        assert met > 3 * by_chance


def test_a_batch_holds_as_many_images_as_its_size_allows():
    images = [number // 8 for number in range(800)]
    order = list(GroupByImage(images, together=4, batch_size=8, seed=0))
    kinds = [len({images[row] for row in batch}) for batch in batches(order, 8)]
    assert sum(kind == 2 for kind in kinds) >= len(kinds) - 1, "two groups of four, of one image at the end at most"


def test_the_order_is_that_of_the_seed_and_the_epoch():
    images = [number // 4 for number in range(40)]
    first, again, other = (GroupByImage(images, 4, 8, seed) for seed in (1, 1, 2))
    assert list(first) == list(again) == list(first)
    assert list(first) != list(other)
    first.set_epoch(1)
    assert list(first) != list(again)
    again.set_epoch(1)
    assert list(first) == list(again)
    assert len(first) == 40

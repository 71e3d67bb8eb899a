"""Request wordings: what a human asks where a dataset holds annotations but no instruction.

Questions are asked as they stand in their data set: the pools are for data sets without. docs/paper_index.md says which
one each row of Table 6 has. Wordings known from the authors are marked, the others are ours. A sample's wording is
drawn from its own random stream, so it does not change with shard order or other sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

ELABORATE = "Give an elaborate explanation of the image you see"  # appendix E: what the evaluation asks for

CAPTION = (  # the captioning sets of PF-1M, remote sensing and object counts among them
    "Describe the following image in detail",  # published records of Flickr30k and COCO
    ELABORATE,
    "Please describe everything that can be seen in this picture.",
    "Write a detailed description of the image.",
    "What does this picture show? Please go into the details.",
    "Can you tell me in detail what is in the image?",
    "Explain what you see in this image, with all details that matter.",
    "Could you give me a thorough description of this picture?",
)

PLAIN = (  # captions of one's own that come without a request, of whatever length
    "Describe the image.",
    "What is shown in this image?",
    "Please describe this picture.",
    "Can you tell me what you see in the image?",
    "Write a caption for this image.",
    "What does this picture show?",
    "Could you describe what is in the image?",
    "Give a description of this image.",
)

CHANGE = (
    "What is the difference between the two images?",
    "Describe what changed between the two images.",
    "What has changed from the first image to the second?",
    "Please compare the two images.",
    "How does the second image differ from the first?",
    "Can you spot what is different in the second image?",
    "Tell me the differences between these two pictures.",
    "What changed between the first and the second picture?",
)

REMOTE_CHANGE = (  # LEVIR-CC: the scripts say that they are satellite images and may be the same
    "What differs between these two satellite images? They may also be the same.",
    "Do these two remote sensing images differ? Please tell me how.",
    "Describe what has changed between the satellite images, if anything has.",
    "Has anything changed from the first satellite picture to the second?",
    "Please compare the two remote sensing images. It is possible that nothing has changed.",
    "Which changes, if any, can you make out between these two satellite photos?",
    "Look at both images taken from above: is there a difference, and which?",
    "Tell me the differences between these two remote sensing images, should there be some.",
)

REGION = (
    "Describe the object inside this {mark}.",  # the paper's example of RefCOCOg
    "What is inside the {mark}?",
    "Please describe what the {mark} surrounds.",
    "Can you tell me what is in the {mark}?",
    "Which object does the {mark} point out?",
    "Write a description of the object in the {mark}.",
    "What do you see within the {mark}?",
    "Refer to the object inside the {mark} in words.",
)

STATEMENT = (
    'Is the following statement about the image true or false? "{statement}"',
    'True or false: "{statement}"',
    'Does this statement fit the image? Answer true or false. "{statement}"',
    'Someone says about the image: "{statement}" Is that true or false?',
    'Look at the image and say whether this is true or false: "{statement}"',
    'Please check this claim about the picture, true or false: "{statement}"',
    'Judge the statement as true or false: "{statement}"',
    'According to the image, is it true or false that this holds? "{statement}"',
)

CLASSIFY = ("What is this?",)  # ELEVATER-IC

EDIT = (
    "How was the first image edited to get the second?",
    "Which edit turns the first image into the second?",
    "What should I ask an editor to do to get the second image from the first?",
    "Describe the edit between the two images.",
    "Please tell me which changes were made to the first picture.",
    "What was done to the first image?",
    "Write an editing request that leads from the first picture to the second.",
    "Which instruction would produce the second image from the first?",
)

STATEMENT_PAIR = (
    'Is the following statement about the two images true or false? "{statement}"',
    'True or false, of the first and the second image: "{statement}"',
    'Does this statement fit the pair of images? Answer true or false. "{statement}"',
    'Someone says about these two pictures: "{statement}" Is that true or false?',
    'Look at both images, left and right, and say whether this is true or false: "{statement}"',
    'Please check this claim about the two pictures, true or false: "{statement}"',
    'Judge the statement about the left and the right image as true or false: "{statement}"',
    'According to the two images, is it true or false that this holds? "{statement}"',
)

POINTED = (
    "Look at what the {mark} points at. {question}",
    "The {mark} points at something in the image. {question}",
    "{question} The {mark} shows what is meant.",
    "With regard to the tip of the {mark}: {question}",
    "See the {mark} in the image? {question}",
    "{question} I mean what the {mark} is pointing to.",
    "Please answer about the place that the {mark} marks. {question}",
    "There is a {mark} in the picture. {question}",
)


def draw_request(pool: Sequence[str], *, seed: int, sample_id: str, **values: str) -> str:
    """Draw the wording for one sample.

    Args:
        pool: One of the tuples of this module.
        seed: Seed of the run.
        sample_id: The sample's id; the same seed and id give the same wording.
        values: What the wording's placeholders stand for (``mark``, ``statement``).
    """
    wording = Random(f"{seed}:{sample_id}:request").choice(pool)
    for key, value in values.items():
        wording = wording.replace("{" + key + "}", value)
    return wording

"""Chat templates in the manner of the model families, written for these tests: each has what makes
its family's hard to read.
"""

from __future__ import annotations

from dataclasses import dataclass

_LOOP = "{% for message in messages %}"


@dataclass(frozen=True)
class Style:
    """special: the special tokens it writes, its begin and end first. said: how an answer is shown
    where it is the last turn, with its end; {} stands for the answer.
    """

    template: str
    special: tuple[str, ...]
    said: str
    has_system: bool = True
    has_tools: bool = False


CHATML = Style(
    _LOOP + "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "{}<|im_end|>",
)
# A system's turn inside the first question, roles that must take turns, and a trimmed answer.
LLAMA_2 = Style(
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = none %}{% set rest = messages %}"
    "{% endif %}{% for message in rest %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must take turns') }}{% endif %}"
    "{% set text = message['content'] %}{% if loop.first and system is not none %}"
    "{% set text = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + text %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    " {} </s>",
)
LLAMA_3 = Style(
    "{{ bos_token }}{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}"
    "{% for message in messages %}{% if loop.first and message.role == 'system' %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday is {{ date_string }}\n\n"
    "{{ message.content | trim }}<|eot_id|>{% else %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message.tool_calls %}{{ message.tool_calls[0].function | tojson(indent=2) }}"
    "{% else %}{{ message['content'] | trim }}{% endif %}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}",
    ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
     "<|eot_id|>"),
    "{}<|eot_id|>",
    has_tools=True,
)  # fmt: skip
# Brackets that are special tokens, tools before the last question.
MISTRAL = Style(
    "{{ bos_token }}{% set ns = namespace(last=0) %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{% if tools and loop.index0 == ns.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}"
    "[/AVAILABLE_TOOLS]{% endif %}[INST]{{ message.content }}[/INST]"
    "{% elif message.role == 'assistant' and message.tool_calls is defined %}"
    "[TOOL_CALLS][{% for call in message.tool_calls %}{{ call.function | tojson }}"
    "{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}"
    "{% elif message.role == 'assistant' %}{{ message.content }}{{ eos_token }}"
    "{% elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content | string | tojson }}"
    "[/TOOL_RESULTS]{% else %}{{ raise_exception('Only user, assistant and tool') }}{% endif %}"
    "{% endfor %}",
    ("<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
     "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    "{}</s>",
    has_system=False,
    has_tools=True,
)  # fmt: skip
GEMMA = Style(
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% set role = 'model' if message.role == 'assistant' else message.role %}"
    "{{ '<start_of_turn>' ~ role ~ '\n' ~ message.content | trim ~ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    "{}<end_of_turn>",
    has_system=False,
)
# Roles inside of special tokens, and an end of all only where nothing waits.
PHI_3 = Style(
    _LOOP + "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "{}<|end|>",
)
# What was thought is shown after the last question only, taken out of the answers before.
QWEN_3 = Style(
    "{% set ns = namespace(last=messages | length) %}{% for message in messages[::-1] %}"
    "{% set place = messages | length - 1 - loop.index0 %}"
    "{% if message.role == 'user' and ns.last == messages | length %}{% set ns.last = place %}"
    "{% endif %}{% endfor %}{% if tools %}<|im_start|>system\n{% for tool in tools %}"
    "{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}{% for message in messages %}"
    "{% if message.role == 'assistant' %}{% set text = message.content %}{% set thought = '' %}"
    "{% if message.reasoning_content is string %}{% set thought = message.reasoning_content %}"
    "{% elif '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "<|im_start|>assistant\n{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ text }}"
    "{% for call in message.tool_calls or [] %}{{ '<tool_call>' + (call.function | tojson) "
    "+ '</tool_call>' }}{% endfor %}<|im_end|>\n{% elif message.role == 'tool' %}"
    "<|im_start|>user\n<tool_response>{{ message.content }}</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<think>\n\n</think>\n\n{}<|im_end|>",
    has_tools=True,
)
# The prompt opens a thought that no answer of the past shows.
DEEPSEEK_R1 = Style(
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
    "{{ message.content }}{% elif message.role == 'user' %}<｜User｜>{{ message.content }}"
    "{% else %}<｜Assistant｜>{{ message.content.split('</think>')[-1] }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}",
    ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    "{}<｜end▁of▁sentence｜>",
)
# Turns that are told by ordinary words.
ZEPHYR = Style(
    _LOOP + "{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}\n{% endif %}",
    ("<s>", "</s>"),
    "{}</s>",
)
VICUNA = Style(
    "{% if messages[0].role == 'system' %}{{ messages[0].content + ' ' }}{% endif %}"
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ 'USER: ' + message.content + ' ' }}{% elif message.role == 'assistant' %}"
    "{{ 'ASSISTANT: ' + message.content + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    ("<s>", "</s>"),
    " {}</s>",
)
COMMAND_R = Style(
    "{{ bos_token }}{% macro turn(role, text) %}<|START_OF_TURN_TOKEN|>{{ role }}{{ text | trim }}"
    "<|END_OF_TURN_TOKEN|>{% endmacro %}{% for message in messages %}"
    "{{ turn({'user': '<|USER_TOKEN|>', 'assistant': '<|CHATBOT_TOKEN|>', "
    "'system': '<|SYSTEM_TOKEN|>'}[message.role], message.content) }}{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
    ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>",
     "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    "{}<|END_OF_TURN_TOKEN|>",
)  # fmt: skip
GRANITE = Style(
    "{%- for message in messages %}\n"
    "    {%- if loop.first and message['role'] != 'system' %}\n"
    "        {{- '<|start_of_role|>system<|end_of_role|>You help.<|end_of_text|>\\n' }}\n"
    "    {%- endif %}\n"
    "    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' }}\n"
    "    {{- message['content'] + '<|end_of_text|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_of_role|>assistant<|end_of_role|>' }}\n"
    "{%- endif %}\n",
    ("<|start_of_role|>", "<|end_of_text|>", "<|end_of_role|>"),
    "{}<|end_of_text|>",
)
# An answer ends otherwise where something follows it.
HARMONY = Style(
    _LOOP + "{% if message.role == 'assistant' %}{% if message.thinking is defined and loop.last %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ message.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ message.content }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}"
    "{% else %}<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
    ("<|start|>", "<|return|>", "<|end|>", "<|message|>", "<|channel|>"),
    "<|channel|>final<|message|>{}<|return|>",
)
# Its answers are enclosed, in two pieces where something was thought.
MARKED = Style(
    _LOOP + "{% if message.role == 'assistant' %}<|im_start|>assistant\n"
    "{% if message.reasoning_content %}{% generation %}<think>{{ message.reasoning_content }}"
    "</think>{% endgeneration %}\n{% endif %}{% generation %}{{ message.content }}<|im_end|>"
    "{% endgeneration %}\n{% continue %}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "{}<|im_end|>",
)

STYLES = {
    "chatml": CHATML, "llama 2": LLAMA_2, "llama 3": LLAMA_3, "mistral": MISTRAL, "gemma": GEMMA,
    "phi 3": PHI_3, "qwen 3": QWEN_3, "deepseek r1": DEEPSEEK_R1, "zephyr": ZEPHYR,
    "vicuna": VICUNA, "command r": COMMAND_R, "granite": GRANITE, "harmony": HARMONY,
    "marked": MARKED,
}  # fmt: skip

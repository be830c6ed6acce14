/* SPDX-License-Identifier: BSD-3-Clause */
/* list: intrusive singly linked registration lists, filled by constructors before main(). */
#ifndef VNICD_LIST_H
#define VNICD_LIST_H

/* Put `item` at the end of the list `head`, linked through its member `next`. */
#define list_append(head, item)                            \
	do {                                               \
		__typeof__(head) *list_tail_ = &(head);    \
		while (*list_tail_)                        \
			list_tail_ = &(*list_tail_)->next; \
		(item)->next = NULL;                       \
		*list_tail_ = (item);                      \
	} while (0)

#define list_for_each(item, head) for ((item) = (head); (item); (item) = (item)->next)

#endif
